"""Convolutions that leave the array's columns idle -> weights spread over several neighbouring outputs at once.

A depthwise convolution has one output for each channel of its input, so that a column of the array holds all of its weights and the
others hold none. But neighbouring outputs read much of the same input: one fold can make a whole block of v x u of them,
each in a column of its own, if the array's rows hold all that any of them reads, and the weights are 0 where an output
does not read. That is a convolution like any other, with more output channels, a larger kernel and a larger stride:

    weights (n, c/g, k, l)            -> (n * v * u, c/g, k + (v - 1) s, l + (u - 1) t), the kernel at (i s, j t) of (i, j)
    stride (s, t)                     -> (v s, u t)
    result (n, p, q)                  -> (n, v, u, p / v, q / u), the same bytes seen through other strides

For 3x3 of stride 1 on 32 rows a block of 2x2 reads 16 places, so that two channels share a fold: eight outputs a cycle instead
of three. Neighbours of a 1x1 convolution share nothing, but on an array that is much wider than a pixel's channels several
pixels lie along its diagonal. What it costs is more weights to load. The first weights of a channel's block are its kernel in the corner, so
that who wants the plain weights (the vector lanes) finds them there.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import msgspec

from nas.compiler.network import constant_strides
from nas.compiler.regions import MAP_RANK, aligned
from nas.compiler.tiling import Compute, Part, Tile, local_copy, output_size, part_of, reads_rows, roles
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv, Dataflow, Window
from nas.ir.tensor import Region, Tensor
from nas.timing.cycles import transfer_cycles
from nas.timing.matrix import ARRAY_DATAFLOWS, array_cycles, passes

_LARGEST_BLOCK = 16  # outputs along one axis
# The part of the sram that the spread weights of a layer may take: those of the next layer should fit beside them.
_PARTS = 8
_BYTE = 8  # bits
_TABLE_BYTES = 8  # scale and shift of a channel
_WORTH = 0.93  # of the time
# Of the time of their transfer, what counts: while the engines work, the loads often only wait for room.
_TRANSFER = 0.5


class Spread(NamedTuple):
    """Blocks of `rows` x `columns` outputs; stride: from one to the next, in places of the map; zero: the weight's code of 0."""

    rows: int
    columns: int
    stride: tuple[int, int]
    zero: int

    @property
    def size(self) -> int:
        """The outputs of a block."""
        return self.rows * self.columns


class _Layer(NamedTuple):
    """What the choice depends on. weights: (n, c/g, k, l); source, result: rows and columns; widths: see `passes`."""

    weights: tuple[int, ...]
    source: tuple[int, ...]
    result: tuple[int, ...]
    groups: int
    stride: tuple[int, int]
    widths: tuple[int, int]
    table: bool
    dataflows: tuple[Dataflow, ...]


def choose_spread(
    function: Compute,
    reads: tuple[Region, ...],
    write: Region,
    processor: Processor,
    dataflows: tuple[Dataflow, ...] = ARRAY_DATAFLOWS,
) -> Spread | None:
    """The block with which both engines together are done first, if it is worth its larger weights."""
    if not dataflows or not isinstance(function, Conv) or not _can_spread(function, reads[1].bits):
        return None
    layer = _layer(function, reads[1].shape, reads[0].shape[-2:], processor, dataflows)
    block, zero = _best_block(layer, processor), _zero(function)
    return None if block is None or zero is None else Spread(*block, function.window.stride, zero)


def is_better_unpooled(
    function: Conv, weights: Tensor, source: tuple[int, ...], pool: Window, processor: Processor
) -> bool:
    """Whether a convolution of maps of `source` rows and columns is so much faster in blocks, which a command that pools its result
    cannot be done in, that the lanes had better pool afterwards. Nobody else works then: what is passed on in stripes is not looked at.
    """
    if not _can_spread(function, weights.format.bits):
        return False
    layer = _layer(function, weights.shape, source, processor, ARRAY_DATAFLOWS)
    block = _best_block(layer, processor)
    if block is None:
        return False
    pooled = weights.shape[0] * math.prod(pool.output_size(*layer.result)) * math.prod(pool.kernel)
    together, _ = _estimate(layer, (1, 1), processor)
    apart, _ = _estimate(layer, block, processor)
    return apart + ceil_div(pooled, processor.vector.lanes) < _WORTH * together


def _can_spread(function: Conv, bits: int) -> bool:
    is_plain = function.tail.pool is None and function.window.dilation == (1, 1)
    return is_plain and bits == _BYTE and _zero(function) is not None


def _layer(
    function: Conv,
    weights: tuple[int, ...],
    source: tuple[int, ...],
    processor: Processor,
    dataflows: tuple[Dataflow, ...],
) -> _Layer:
    height, width = source
    return _Layer(
        weights,
        source,
        function.window.output_size(height, width),
        function.groups,
        function.window.stride,
        passes(function.weight, function.input, processor.matrix),
        function.tail.table,
        dataflows,
    )


def _zero(conv: Conv) -> int | None:
    """The code of a weight of 0, if there is one. Codes alone: of a float map, infinity times 0 is not 0."""
    form = conv.weight
    if not (form.is_code and conv.input.is_code) or form.offset % form.multiplier:
        return None
    zero = -form.offset // form.multiplier
    return zero if 0 <= zero <= form.levels else None


# Layers are alike, within a network and from one of a search to the next.
@lru_cache(maxsize=1 << 12)
def _best_block(layer: _Layer, processor: Processor) -> tuple[int, int] | None:
    outputs = layer.weights[0] // layer.groups
    rows, columns = layer.result
    plain_cycles, _ = _estimate(layer, (1, 1), processor)
    best, best_cycles = None, _WORTH * plain_cycles
    for block_columns in range(1, min(columns, _LARGEST_BLOCK) + 1):
        if columns % block_columns:
            continue
        for block_rows in range(1, min(rows, _LARGEST_BLOCK) + 1):
            size = block_rows * block_columns
            if size == 1 or outputs * size > processor.matrix.columns:
                continue
            cycles, size_bytes = _estimate(layer, (block_rows, block_columns), processor)
            if cycles < best_cycles and size_bytes * _PARTS <= processor.sram.size_bytes:
                best, best_cycles = (block_rows, block_columns), cycles
    return best


def _estimate(layer: _Layer, block: tuple[int, int], processor: Processor) -> tuple[float, int]:
    """The cycles of both engines together and of the transfer, as far as it counts, and the bytes of the constants."""
    count, depth, *kernel = layer.weights
    rows, columns = layer.result
    size = block[0] * block[1]
    terms = depth * math.prod(
        taps + (outputs - 1) * step for taps, outputs, step in zip(kernel, block, layer.stride, strict=True)
    )
    # Maps that do not fit on chip are made in stripes, and the array is filled anew for each.
    map_bytes = depth * layer.groups * math.prod(layer.source) + count * rows * columns
    on_chip = 4 * map_bytes <= 3 * processor.sram.size_bytes
    stripes = 1 if on_chip else ceil_div(4 * map_bytes, processor.sram.size_bytes)
    widths, channels = layer.widths, count // layer.groups

    def on_array(pixels: int, depth_of_sums: int, sums: int) -> int:
        return min(
            array_cycles(pixels, depth_of_sums, sums, layer.groups, dataflow, processor.matrix, widths)
            for dataflow in layer.dataflows
        )

    # Of a whole map the last rows, if they are no block, are a command of their own; stripes are as tall as blocks, if they can.
    rest = rows % block[0] if stripes == 1 else 0
    blocks = ceil_div(rows - rest, block[0]) * (columns // block[1])
    array = stripes * on_array(ceil_div(blocks, stripes), terms, channels * size)
    if rest:
        array += on_array(rest * columns, depth * math.prod(kernel), channels)
    macs = count * rows * columns * depth * math.prod(kernel)
    size_bytes = count * size * (terms + _TABLE_BYTES * layer.table)
    return both_engines_cycles(array, macs, processor) + _TRANSFER * transfer_cycles(size_bytes, processor), size_bytes


def both_engines_cycles(array_cycles: int, macs: int, processor: Processor) -> float:
    """About how long the array, which alone takes so many cycles, and the lanes take for an operator that they share."""
    lanes_cycles = ceil_div(macs, processor.vector.lanes)
    return array_cycles * lanes_cycles / (array_cycles + lanes_cycles)


def stored_shape(region: Region, role: str, spread: Spread) -> tuple[int, ...]:
    """The shape of a weight or a table when it is spread."""
    if role == "table":
        return (region.shape[0], region.shape[1] * spread.size)
    if role != "weight":
        return region.shape
    count, depth, rows, columns = region.shape
    return (
        count * spread.size,
        depth,
        rows + (spread.rows - 1) * spread.stride[0],
        columns + (spread.columns - 1) * spread.stride[1],
    )


def constant_copy(
    region: Region, role: str, spread: Spread | None, memory: str, offset_bytes: int
) -> tuple[Region, int]:
    """The plain constant within a copy of `region` that is spread, and the end of the copy, aligned."""
    if spread is None or role not in ("weight", "table"):
        copy = local_copy(region, role, memory, offset_bytes)
        return copy, aligned(copy.end_bytes)
    shape = stored_shape(region, role, spread)
    spread_out = local_copy(
        Region(memory, offset_bytes, shape, (0,) * len(shape), region.bits), role, memory, offset_bytes
    )
    strides = list(spread_out.strides)
    strides[0 if role == "weight" else 1] *= spread.size
    return Region(memory, offset_bytes, region.shape, tuple(strides), region.bits), aligned(spread_out.end_bytes)


def on_array(part: Part, spread: Spread | None) -> list[Part]:
    """The commands that do on the array what `part` says, in blocks as far as its rows go."""
    function, reads, write = part
    if spread is None or not isinstance(function, Conv):
        return [part]
    rows, channels = output_size(function, reads, write)
    whole = rows // spread.rows * spread.rows
    if whole == rows:
        return [_in_blocks(part, spread)]
    if not whole or not all(reads_rows(function, reads, each) for each in ((0, whole), (whole, rows))):
        return [part]
    first, last = (part_of(function, reads, write, Tile(each, (0, channels))) for each in ((0, whole), (whole, rows)))
    return [_in_blocks(first, spread), last]


def _in_blocks(part: Part, spread: Spread) -> Part:
    function, reads, write = part
    assert isinstance(function, Conv)
    window = function.window
    *_, rows, columns = stored_shape(reads[1], "weight", spread)
    stride = (window.stride[0] * spread.rows, window.stride[1] * spread.columns)
    blocks = msgspec.structs.replace(function, window=Window((rows, columns), stride, window.padding))
    return Part(
        blocks,
        tuple([_read_in_blocks(*read, reads[1].shape[0], spread) for read in zip(reads, roles(function), strict=True)]),
        _map_in_blocks(write, spread),
    )


def _read_in_blocks(region: Region, role: str, channels: int, spread: Spread) -> Region:
    if role in ("factor", "addend"):
        if len(region.shape) == MAP_RANK and region.shape[0] == 1:  # one element for all channels
            shape, strides = (channels, *region.shape[1:]), (0, *region.strides[1:])
            region = Region(region.memory, region.offset_bytes, shape, strides, region.bits)
        return _map_in_blocks(region, spread)
    if role == "data":
        return region
    shape = stored_shape(region, role, spread)
    if role == "weight":
        strides = constant_strides(shape, region.bits)
    else:
        strides = (region.strides[0], region.strides[1] // spread.size)
    return Region(region.memory, region.offset_bytes, shape, strides, region.bits)


def _map_in_blocks(region: Region, spread: Spread) -> Region:
    """The same elements, the place within a block among the channels. An axis of size 1 serves all places."""
    *_, rows, columns = region.shape
    *outer, row_stride, column_stride = region.strides
    block, steps, sizes = [], [], []
    for size, stride, count in ((rows, row_stride, spread.rows), (columns, column_stride, spread.columns)):
        spread_out = size > 1
        block.append((count, stride if spread_out else 0))
        sizes.append(size // count if spread_out else 1)
        steps.append(stride * count)
    return Region(
        region.memory,
        region.offset_bytes,
        (*region.shape[:-2], *(count for count, _ in block), *sizes),
        (*outer, *(stride for _, stride in block), *steps),
        region.bits,
    )
