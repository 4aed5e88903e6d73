"""A tile of an operator's output -> the parts of its operands that the tile needs, and the command's attributes.

A tile is a range of rows and a range of channels of the output. Rows shrink what is read of the maps, channels what is
read of weights and tables; padding and halo follow from where the tile lies.
"""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from nas.compiler.network import constant_strides
from nas.compiler.regions import MAP_RANK, ROWS_RANK, aligned, as_map, image_of
from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Eltwise, Matmul, Pool, Tail, Window
from nas.ir.program import Function, Operator
from nas.ir.tensor import Region, Tensor, box, dense
from nas.timing.cycles import command_cycles

Compute = Conv | Matmul | Eltwise | Pool
_TERMS = ("factor", "addend")


class Tile(NamedTuple):
    """Half-open ranges of the output: rows of a map (all rows of a matrix), and channels."""

    rows: tuple[int, int]
    channels: tuple[int, int]


class Part(NamedTuple):
    """One command in the making: its attributes and the parts of the operands that it touches."""

    function: Compute
    reads: tuple[Region, ...]
    write: Region


def roles(function: Function) -> tuple[str, ...]:
    """What each read of a command is: "data", "weight", "table", "factor", "addend"; of a view it is "data", too."""
    tail: Tail | None = getattr(function, "tail", None)
    if tail is None:
        return ("data",)
    return _ROLES[type(function) in _WEIGHTED, tail.table, tail.multiply is not None, tail.add is not None]


# Asked so often that it takes a percent of the time of compiling to put them together.
_WEIGHTED = (Conv, Matmul)
_ROLES = {
    has: ("data", *(name for name, there in zip(("weight", "table", "factor", "addend"), has, strict=True) if there))
    for has in itertools.product((False, True), repeat=4)
}


def engine_of(function: Compute) -> str:
    """The engine that does the work."""
    return "matrix" if type(function) in _WEIGHTED and getattr(function, "dataflow", "") != "lanes" else "vector"


def channel_step(function: Compute, reads: tuple[Region, ...], write: Region) -> int:
    """The channels of a tile come in multiples of this: whole groups, whole bytes of rows, whole steps of the first of several axes."""
    if len(write.shape) == ROWS_RANK:
        return max(1, 8 // min([write.bits, *(region.bits for region in reads)]))
    # What is cut with the output's channels: the data, unless every output needs all of it, and the tail's operands.
    cut = [write, *(region for role, region in zip(roles(function), reads, strict=True) if role in _TERMS)]
    if isinstance(function, Eltwise | Pool):
        cut.append(reads[0])
    step = math.lcm(*map(_outer_step, cut))
    if isinstance(function, Conv) and function.groups > 1:
        inputs, outputs = reads[1].shape[1], reads[1].shape[0] // function.groups
        return math.lcm(step, math.lcm(_outer_step(reads[0]), inputs) // inputs * outputs)
    return step


def _outer_axis(region: Region) -> int:
    """The first of the axes of a map's channels that has steps."""
    return next((axis for axis, size in enumerate(region.shape[:-2]) if size > 1), 0)


def _outer_step(region: Region) -> int:
    """The channels of a step of that axis."""
    return math.prod(region.shape[_outer_axis(region) + 1 : -2])


def tiles_of(function: Compute, reads: tuple[Region, ...], write: Region, rows: int, channels: int) -> list[Tile]:
    """Tiles of `rows` x `channels` over the whole output, channels outside, rows inside, so that weights are loaded once."""
    row_count, channel_count = output_size(function, reads, write)
    starts = list(range(0, row_count, rows))
    # Rows that see nothing but padding have no input to read: they go to the tile before or after them.
    ends = [stop for stop in starts[1:] if reads_rows(function, reads, (stop - rows, stop))]
    while ends and not reads_rows(function, reads, (ends[-1], row_count)):
        ends.pop()
    ranges = list(zip([0, *ends], [*ends, row_count], strict=True))
    return [
        Tile(row_range, (channel, min(channel + channels, channel_count)))
        for channel in range(0, channel_count, channels)
        for row_range in ranges
    ]


def output_size(function: Compute, reads: tuple[Region, ...], write: Region) -> tuple[int, int]:
    """(rows, channels) of the output; a matrix counts as one row of channels."""
    if len(write.shape) == ROWS_RANK:
        return 1, write.shape[1]
    return write.shape[-2], math.prod(write.shape[:-2])


def reads_rows(function: Compute, reads: tuple[Region, ...], rows: tuple[int, int]) -> bool:
    """Whether the output `rows` depend on any row of the input."""
    start, stop = input_rows(function, reads[0], rows)
    return start < stop


def input_rows(function: Compute, data: Region, rows: tuple[int, int]) -> tuple[int, int]:
    """The rows of the data map that the output `rows` depend on; an empty range where they see only padding."""
    if not isinstance(function, Conv | Pool) or len(data.shape) < MAP_RANK:
        return rows
    if isinstance(function, Conv) and function.tail.pool is not None:
        height = function.window.output_size(data.shape[-2], data.shape[-1])[0]
        rows = _window_rows(function.tail.pool, rows, height)[0]
        if rows[0] >= rows[1]:
            return rows
    return _window_rows(function.window, rows, data.shape[-2])[0]


def local_copy(region: Region, role: str, memory: str, offset_bytes: int) -> Region:
    """A dense region for a copy of an operand. Weights stay packed over whole rows, all else has byte-aligned rows."""
    if role == "weight":
        strides = constant_strides(region.shape, region.bits)
        return Region(memory, offset_bytes, region.shape, strides, region.bits)
    return dense(memory, offset_bytes, region.shape, region.bits)


def part_of(function: Compute, reads: tuple[Region, ...], write: Region, tile: Tile) -> Part:
    """The part of an operator (its whole operands given) that makes `tile` of its output."""
    if len(write.shape) == ROWS_RANK:
        return _part_of_rows(function, reads, write, tile)
    if isinstance(function, Conv):
        return _part_of_conv(function, reads, write, tile)
    if isinstance(function, Pool):
        rows, window = _window_rows(function.window, tile.rows, reads[0].shape[-2])
        data = rows_and_channels(reads[0], rows, tile.channels)
        return Part(_replace(function, window=window), (data,), rows_and_channels(write, tile.rows, tile.channels))
    parts = []
    for role, region in zip(roles(function), reads, strict=True):
        if role == "table":
            parts.append(box(region, None, tile.channels))
        elif role == "data":
            parts.append(rows_and_channels(region, tile.rows, tile.channels))
        else:
            parts.append(_part_of_term(region, tile.rows, tile.channels))
    return Part(function, tuple(parts), rows_and_channels(write, tile.rows, tile.channels))


def part_cycles(part: Part, processor: Processor) -> int:
    """The cycles of the command that does `part`, on the engine that its function says."""
    command = Command(engine_of(part.function), "", part.reads, (part.write,), part.function)
    return command_cycles(command, processor)


def staged(part: Part) -> tuple[tuple[Region, ...], int]:
    """Dense local copies of all operands of a part, what it writes last, one behind the other, and the bytes they take."""
    copies: list[Region] = []
    offset_bytes = 0
    for region, role in zip((*part.reads, part.write), (*roles(part.function), "output"), strict=True):
        local = local_copy(region, role, "sram", offset_bytes)
        copies.append(local)
        offset_bytes = aligned(local.end_bytes)
    return tuple(copies), offset_bytes


def _part_of_rows(function: Compute, reads: tuple[Region, ...], write: Region, tile: Tile) -> Part:
    """Rows (m, c): tiles are ranges of channels only."""
    parts = []
    for role, region in zip(roles(function), reads, strict=True):
        if role == "weight":
            parts.append(box(region, tile.channels))
        elif (role == "data" and isinstance(function, Matmul)) or (role in _TERMS and region.shape[1] == 1):
            parts.append(region)
        else:
            parts.append(box(region, None, tile.channels))
    return Part(function, tuple(parts), box(write, None, tile.channels))


def _part_of_conv(function: Conv, reads: tuple[Region, ...], write: Region, tile: Tile) -> Part:
    tail = function.tail
    conv_rows = tile.rows
    data, weights = reads[0], reads[1]
    if tail.pool is not None:
        height = function.window.output_size(data.shape[-2], data.shape[-1])[0]
        conv_rows, pool = _window_rows(tail.pool, tile.rows, height)
        tail = _replace_tail(tail, pool)
    rows, window = _window_rows(function.window, conv_rows, data.shape[-2])
    outputs_per_group = weights.shape[0] // function.groups
    groups, channels = function.groups, None
    if tile.channels != (0, weights.shape[0]) and function.groups > 1:
        first, last = tile.channels[0] // outputs_per_group, -(-tile.channels[1] // outputs_per_group)
        groups = last - first
        channels = (first * weights.shape[1], last * weights.shape[1])
    parts = [rows_and_channels(data, rows, channels)]
    for role, region in zip(roles(function)[1:], reads[1:], strict=True):
        if role == "weight":
            parts.append(box(region, tile.channels))
        elif role == "table":
            parts.append(box(region, None, tile.channels))
        else:
            parts.append(_part_of_term(region, conv_rows, tile.channels))
    conv = Conv(window, groups, function.input, function.weight, tail, function.dataflow)
    return Part(conv, tuple(parts), rows_and_channels(write, tile.rows, tile.channels))


def _window_rows(window: Window, rows: tuple[int, int], height: int) -> tuple[tuple[int, int], Window]:
    """The input rows that the output `rows` of a sliding window read, and the window with what is left of its padding."""
    top, left, _, right = window.padding
    first = rows[0] * window.stride[0] - top
    last = (rows[1] - 1) * window.stride[0] - top + window.dilation[0] * (window.kernel[0] - 1) + 1
    inside = (max(first, 0), min(last, height))
    padding = (inside[0] - first, left, last - inside[1], right)
    return inside, Window(window.kernel, window.stride, padding, window.dilation)


def _part_of_term(region: Region, rows: tuple[int, int], channels: tuple[int, int]) -> Region:
    """A part of a factor or an addend: an axis of size 1 serves all places along it."""
    is_spread = math.prod(region.shape[:-2]) == 1
    return rows_and_channels(region, rows if region.shape[-2] > 1 else (0, 1), None if is_spread else channels)


def rows_and_channels(region: Region, rows: tuple[int, int], channels: tuple[int, int] | None) -> Region:
    """A part of a map; None: all channels. Channels that are several axes are cut along the first of them that has steps."""
    if rows == (0, region.shape[-2]) and (channels is None or channels == (0, math.prod(region.shape[:-2]))):
        return region
    if len(region.shape) == MAP_RANK:
        return box(region, channels, rows)
    axis, step = _outer_axis(region), _outer_step(region)
    steps = None if channels is None else (channels[0] // step, channels[1] // step)
    whole = [None] * (len(region.shape) - MAP_RANK - axis)
    return box(region, *[None] * axis, steps, *whole, rows)


def _replace(function: Pool, window: Window) -> Pool:
    return Pool(function.kind, window, function.count_padding, function.input, function.output)


def _replace_tail(tail: Tail, pool: Window) -> Tail:
    return msgspec.structs.replace(tail, pool=pool)


def image_operands(
    operator: Operator, tensors: Mapping[str, Tensor], reads: list[Region], write: Region
) -> list[tuple[tuple[Region, ...], Region]]:
    """The operands of each image (maps), or of all images at once (rows)."""
    constant = [tensors[name].role == "constant" for name in operator.inputs]
    if len(write.shape) == ROWS_RANK:
        return [(tuple(reads), write)]
    return [
        (
            tuple(
                region if fixed else as_map(image_of(region, image))
                for region, fixed in zip(reads, constant, strict=True)
            ),
            as_map(image_of(write, image)),
        )
        for image in range(write.shape[0])
    ]
