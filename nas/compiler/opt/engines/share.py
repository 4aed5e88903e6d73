"""One tile of work -> the commands that do it on both engines at once, and early enough for who waits for it.

What the vector lanes do a depthwise convolution with, the array does too, a little slower; on a wide array a thin layer
takes no longer on the lanes. So a convolution is cut in two, along channels or rows, where both are done at the same time.
And what the next operator takes up channel by channel is made in several commands, so that it can begin with the first.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from nas.compiler.opt.engines.select import cheapest
from nas.compiler.opt.engines.spread import Spread, on_array
from nas.compiler.tiling import (
    Part,
    Tile,
    channel_step,
    engine_of,
    output_size,
    part_cycles,
    part_of,
    reads_rows,
)
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv, Dataflow, Matmul
from nas.ir.tensor import Region
from nas.timing.matrix import ARRAY_DATAFLOWS

# A cut has to save this share of the time; a larger one where the next operator would begin with the first channels.
_WORTH = 0.04
_WORTH_IN_CHUNKS = 0.2
# An operator that another one follows channel by channel is made in about so many commands.
_COMMANDS = 4
# So much longer the array may take over them all.
_SLOWER = 0.1
_STEPS = 4


class Pace(NamedTuple):
    """chunk: make it in commands of so many channels (0: in one). lead_cycles: for so long the matrix engine is busy with
    other work that the vector engine need not wait for.
    """

    chunk: int = 0
    lead_cycles: int = 0


class Array(NamedTuple):
    """How the array works on an operator. spread: how its weights are laid out; dataflows: those to choose from."""

    spread: Spread | None = None
    dataflows: tuple[Dataflow, ...] = ARRAY_DATAFLOWS


PLAIN = Array()


class Share(NamedTuple):
    """The vector engine makes the first `size` rows or channels (`axis` 0 or 1), the matrix engine the others."""

    axis: int
    size: int


def chunk_for(channels: int, processor: Processor) -> int:
    """The channels of each of a few commands, whole widths of the array; 0 where that is all of them."""
    columns = processor.matrix.columns
    chunk = ceil_div(ceil_div(channels, _COMMANDS), columns) * columns
    return chunk if chunk < channels else 0


def parts_on_engines(part: Part, pace: Pace | None, array: Array, processor: Processor) -> list[Part]:
    """The commands, in the making, that do `part`, each for the engine that its function says, and in the dataflow that is
    quickest for it; pace: None for one engine only.
    """
    homes = (*part.reads, part.write)
    slots = [Region(str(slot), 0, each.shape, each.strides, each.bits) for slot, each in enumerate(homes)]
    pieces = _cut(Part(part.function, tuple(slots[:-1]), slots[-1]), pace, array, processor)
    return [
        Part(each.function, tuple([_at(read, homes) for read in each.reads]), _at(each.write, homes)) for each in pieces
    ]


def _at(region: Region, homes: Sequence[Region]) -> Region:
    """A region of the slot with the number of a home, where that lies."""
    home = homes[int(region.memory)]
    return Region(home.memory, home.offset_bytes + region.offset_bytes, region.shape, region.strides, region.bits)


# Stripes and tiles of a layer are alike.
@lru_cache(maxsize=1 << 12)
def _cut(part: Part, pace: Pace | None, array: Array, processor: Processor) -> tuple[Part, ...]:
    pieces = [part] if pace is None else _pieces(part, pace, array, processor)
    return tuple(
        [
            piece
            for each in pieces
            for piece in (_on_array(each, array, processor) if engine_of(each.function) == "matrix" else [each])
        ]
    )


def engine_cycles(part: Part, array: Array, processor: Processor) -> int:
    """The cycles of `part` in one command on the engine that its function says; on the array in the quickest dataflow."""
    if engine_of(part.function) == "matrix":
        return _cheapest(part, array.dataflows, processor)[1]
    return part_cycles(part, processor)


def shared_cycles(part: Part, pace: Pace | None, array: Array, processor: Processor) -> int:
    """The cycles until the last engine has done its commands of `part`, if they begin at the same time."""
    cycles: dict[str, int] = {}
    for piece in parts_on_engines(part, pace, array, processor):
        engine = engine_of(piece.function)
        cycles[engine] = cycles.get(engine, 0) + part_cycles(piece, processor)
    return max(cycles.values())


def array_part_cycles(part: Part, array: Array, processor: Processor) -> int:
    """The cycles of `part` if the array did all of it; 0 if it can't."""
    if not isinstance(part.function, Conv | Matmul) or not array.dataflows:
        return 0
    return sum(_cheapest(each, array.dataflows, processor)[1] for each in on_array(part, array.spread))


def _on_array(part: Part, array: Array, processor: Processor) -> list[Part]:
    return [
        each._replace(function=_cheapest(each, array.dataflows, processor)[0]) for each in on_array(part, array.spread)
    ]


def _cheapest(part: Part, dataflows: tuple[Dataflow, ...], processor: Processor) -> tuple[Conv | Matmul, int]:
    assert isinstance(part.function, Conv | Matmul)
    return cheapest(part.function, _bare(part.reads), _bare((part.write,))[0], dataflows, processor)


def _pieces(part: Part, pace: Pace, array: Array, processor: Processor) -> list[Part]:
    function, reads, write = part
    rows, channels = output_size(function, reads, write)
    step = channel_step(function, reads, write)
    chunk = pace.chunk if pace.chunk and pace.chunk % step == 0 else channels
    # Who takes up the first channels while the array makes the others has little time to help with these.
    worth = _WORTH_IN_CHUNKS if _keeps_pace(part, chunk, array, processor) else _WORTH
    share = _share(Part(function, _bare(reads), _bare((write,))[0]), pace.lead_cycles, array, processor, worth)
    if share is None:
        if chunk >= channels:
            return [Part(function, reads, write)]
        return [part_of(function, reads, write, Tile((0, rows), each)) for each in _ranges(0, channels, chunk)]
    on_matrix = msgspec.structs.replace(function, dataflow=array.dataflows[0])
    if not share.size:
        return [Part(on_matrix, reads, write)]
    lanes = msgspec.structs.replace(function, dataflow="lanes")
    if share.axis == 0:
        return [
            part_of(lanes, reads, write, Tile((0, share.size), (0, channels))),
            part_of(on_matrix, reads, write, Tile((share.size, rows), (0, channels))),
        ]
    return [
        *(part_of(lanes, reads, write, Tile((0, rows), each)) for each in _ranges(0, share.size, chunk)),
        part_of(on_matrix, reads, write, Tile((0, rows), (share.size, channels))),
    ]


def _keeps_pace(part: Part, chunk: int, array: Array, processor: Processor) -> bool:
    """Whether the array makes its channels so many at a time, in about the time that it takes for all at once."""
    rows, channels = output_size(*part)
    if chunk >= channels or engine_of(part.function) != "matrix":
        return False
    chunks = (part_of(*part, Tile((0, rows), each)) for each in _ranges(0, channels, chunk))
    in_chunks = sum(array_part_cycles(each, array, processor) for each in chunks)
    return in_chunks <= (1 + _SLOWER) * array_part_cycles(part, array, processor)


def _ranges(start: int, stop: int, length: int) -> list[tuple[int, int]]:
    return [(first, min(first + length, stop)) for first in range(start, stop, length)]


def _bare(regions: tuple[Region, ...]) -> tuple[Region, ...]:
    return tuple([Region("sram", 0, each.shape, each.strides, each.bits) for each in regions])


# Asked with several paces.
@lru_cache(maxsize=1 << 12)
def _share(part: Part, lead_cycles: int, array: Array, processor: Processor, worth: float) -> Share | None:
    """How to cut the work between the engines; None where the one that its function says does it all as soon."""
    function, reads, write = part
    if not isinstance(function, Conv | Matmul) or not array.dataflows:
        return None
    whole = output_size(function, reads, write)

    whole_rows, whole_channels = everything = Tile((0, whole[0]), (0, whole[1]))

    def cycles(engine: str, tile: Tile) -> int:
        tried = part if tile == everything else part_of(function, reads, write, tile)
        if engine == "vector":
            lanes = msgspec.structs.replace(tried.function, dataflow="lanes")
            return part_cycles(tried._replace(function=lanes), processor)
        return array_part_cycles(tried, array, processor)

    vector_cycles, matrix_cycles = cycles("vector", everything), cycles("matrix", everything)
    alone = vector_cycles if function.dataflow == "lanes" else matrix_cycles
    best: Share | None = None
    best_cycles: float = alone
    if array.spread is not None and lead_cycles + matrix_cycles < alone:
        best, best_cycles = Share(1, 0), lead_cycles + matrix_cycles
    bound = (lead_cycles + matrix_cycles) * vector_cycles / (matrix_cycles + vector_cycles)
    if bound > (1 - worth) * best_cycles:
        return best
    best_cycles *= 1 - worth
    axes = ((1, channel_step(function, reads, write)), (0, 1 if array.spread is None else array.spread.rows))
    for axis, step in axes:
        size = whole[axis]
        low, high = 0, size  # of the vector engine's count: too few, too many
        count = int(size * bound / vector_cycles) // step * step
        for _ in range(_STEPS):
            if not low < count < high:
                break
            first, last = (
                Tile(each, whole_channels) if axis == 0 else Tile(whole_rows, each)
                for each in ((0, count), (count, size))
            )
            if axis == 0 and not (reads_rows(function, reads, first.rows) and reads_rows(function, reads, last.rows)):
                break
            on_vector, on_matrix = cycles("vector", first), lead_cycles + cycles("matrix", last)
            if max(on_vector, on_matrix) < best_cycles:
                best, best_cycles = Share(axis, count), max(on_vector, on_matrix)
            if on_vector < on_matrix:
                low = count
            else:
                high = count
            shift = (on_matrix - on_vector) * size / (vector_cycles + matrix_cycles)
            count += round(shift / step) * step or (step if shift > 0 else -step)
    return best
