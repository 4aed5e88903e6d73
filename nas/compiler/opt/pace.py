"""Which operators are made in several commands, so that the next one can begin early, and who has time to help it."""

from itertools import pairwise

from nas.compiler.memo import Memo
from nas.compiler.opt.operands import Layout, Operands, Placed
from nas.compiler.opt.share import Pace, chunk_for, engine_cycles, is_channelwise
from nas.compiler.tiling import Part, engine_of
from nas.core.units import ceil_div
from nas.hw.spec import Processor


def paces(layout: Layout, on_chip: frozenset[str], processor: Processor, memo: Memo) -> dict[int, Pace]:
    """The pace of every operator that has tiles.

    An operator of the matrix engine whose map stays on chip for the next one, which goes channel by channel, is made a few
    channels at a time; while the vector engine takes up the first of them, the matrix engine makes the others.
    """
    found = {index: Pace() for index, placed in enumerate(layout.placed) if placed is not None}
    for index, after in pairwise(found):
        placed, following = layout.placed[index], layout.placed[after]
        if placed is None or following is None or engine_of(placed.operands.function) != "matrix":
            continue
        chunk = chunk_for(placed.operands.size[1], processor)
        if chunk and chunk % placed.operands.channel_step == 0 and _hands_on(placed, following, on_chip):
            commands = ceil_div(placed.operands.size[1], chunk)
            lead_cycles = memo.of(whole_cycles, placed.operands, processor) * (commands - 1) // commands
            found[index], found[after] = Pace(chunk), Pace(chunk, lead_cycles)
    return found


def _hands_on(placed: Placed, following: Placed, on_chip: frozenset[str]) -> bool:
    """Whether `following` reads channel by channel, on chip, what `placed` writes there, or more."""
    reads, _ = following.operands.images[0]
    _, write = placed.operands.images[0]
    made, data = placed.homes[write.memory], following.homes[reads[0].memory]
    weights = reads[1].shape[:2] if len(reads) > 1 else ()
    return made.memory == data.memory in on_chip and is_channelwise(following.operands.function, weights)


def whole_cycles(operands: Operands, processor: Processor) -> int:
    """The cycles of one image's operator in one command."""
    reads, write = operands.images[0]
    return engine_cycles(Part(operands.function, reads, write), operands.array, processor)
