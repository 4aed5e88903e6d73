"""Which operators are made in several commands, so that the next one can begin early, and who has time to help it.

How early that is, is a guess until there are addresses: where the next one's result gets bytes that this one still reads, it waits to
the end. `seen_leads` looks into a simulation, and what was guessed wrong is planned again by what was seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from nas.compiler.memo import Memo
from nas.compiler.opt.engines.share import Pace, chunk_for, engine_cycles
from nas.compiler.opt.layout.operands import Layout, Operands, Placed
from nas.compiler.tiling import Part, engine_of
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv
from nas.sim.trace import Trace

# A lead that is this part of the guess is let be, and so are all if those who waited held up less than that part of the time.
_HELD, _LOST = 0.5, 0.05


def paces(
    layout: Layout, on_chip: frozenset[str], processor: Processor, memo: Memo, seen: Mapping[int, int]
) -> dict[int, Pace]:
    """The pace of every operator that has tiles. seen: leads that are known better, by the operators that read.

    An operator of the matrix engine whose map stays on chip for the next one, which goes channel by channel, is made a few
    channels at a time; while the vector engine takes up the first of them, the matrix engine makes the others.
    """
    found = {index: Pace() for index, placed in enumerate(layout.placed) if placed is not None}
    for lead in guessed_leads(layout, on_chip, processor, memo):
        lead_cycles = seen.get(lead.reader, lead.cycles)
        if lead_cycles:
            found[lead.maker], found[lead.reader] = Pace(lead.chunk), Pace(lead.chunk, lead_cycles)
    return found


class Lead(NamedTuple):
    """Operator `maker` is made in commands of `chunk` channels; from the end of the first to that of the last are `cycles`, which the
    next operator, `reader`, need not wait for. layers: of both; can_share: whether the matrix engine could help the reader.
    """

    maker: int
    reader: int
    chunk: int
    cycles: int
    layers: tuple[str, str]
    can_share: bool


def guessed_leads(layout: Layout, on_chip: frozenset[str], processor: Processor, memo: Memo) -> Iterator[Lead]:
    """Of all pairs of operators that hand on channels."""
    for index, after in pairwise(index for index, placed in enumerate(layout.placed) if placed is not None):
        placed, following = layout.placed[index], layout.placed[after]
        if placed is None or following is None or engine_of(placed.operands.function) != "matrix":
            continue
        chunk = chunk_for(placed.operands.size[1], processor)
        if chunk and chunk % placed.operands.channel_step == 0 and _hands_on(placed, following, on_chip):
            commands = ceil_div(placed.operands.size[1], chunk)
            cycles = memo.of(whole_cycles, placed.operands, processor) * (commands - 1) // commands
            can_share = isinstance(following.operands.function, Conv)
            yield Lead(index, after, chunk, cycles, (placed.layer, following.layer), can_share)


def seen_leads(guessed: Sequence[Lead], trace: Trace) -> dict[int, int]:
    """The leads that operators had in a simulation, of those that had far less than was guessed, if these are worth the trouble."""
    ends: dict[str, int] = {}
    lanes: dict[str, tuple[int, int]] = {}
    for span in trace.spans:
        if span.engine == "matrix":
            ends[span.layer] = span.end_cycles
        elif span.engine == "vector":
            start, _ = lanes.get(span.layer, (span.start_cycles, 0))
            lanes[span.layer] = start, span.end_cycles
    seen: dict[int, int] = {}
    lost_cycles = 0
    for lead in guessed:
        first, second = lead.layers
        if first != second and first in ends and second in lanes:
            cycles = max(0, ends[first] - lanes[second][0])
            if cycles < _HELD * lead.cycles:
                seen[lead.reader] = cycles
                lost_cycles += _without_loads(trace, *lanes[second])
    return seen if lost_cycles > _LOST * trace.cycles else {}


def _without_loads(trace: Trace, start: int, end: int) -> int:
    """The cycles from `start` to `end` in which nothing is loaded: where the dram sets the pace, engines may as well wait."""
    loading = (
        max(0, min(span.end_cycles, end) - max(span.start_cycles, start))
        for span in trace.spans
        if span.engine == "dma_in"
    )
    return end - start - sum(loading)


def _hands_on(placed: Placed, following: Placed, on_chip: frozenset[str]) -> bool:
    """Whether `following` reads channel by channel, on chip, what `placed` writes there, or more."""
    reads, _ = following.operands.images[0]
    _, write = placed.operands.images[0]
    made, data = placed.homes[write.memory], following.homes[reads[0].memory]
    return made.memory == data.memory in on_chip and following.operands.is_channelwise


def whole_cycles(operands: Operands, processor: Processor) -> int:
    """The cycles of one image's operator in one command."""
    reads, write = operands.images[0]
    return engine_cycles(Part(operands.function, reads, write), operands.array, processor)
