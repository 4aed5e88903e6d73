"""Two regions of one memory -> whether they may share a byte; many regions -> the spans of bytes that they lie in.

A **box** is a region seen on the grid that its strides make from some address: the first and one past the last place
along each axis. Boxes on one grid share an element exactly if they overlap along every axis.
"""

from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache

from nas.ir.tensor import Region

Box = tuple[tuple[int, ...], tuple[int, ...]]

_MAP = 3  # axes


def without_blocks(region: Region) -> Region:
    """The same elements, with the places within blocks of rows and columns as the rows and columns that they are."""
    if len(region.shape) <= _MAP:
        return region
    shape, strides = _without_blocks(region.shape, region.strides)
    return Region(region.memory, region.offset_bytes, shape, strides, region.bits)


@lru_cache(maxsize=1 << 12)
def _without_blocks(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """An axis whose steps go on where those of one before it end is that one, taken further."""
    sizes, steps = list(shape), list(strides)
    inner = 0
    while inner < len(sizes):
        further = max(axis for axis in range(len(sizes)) if axis == inner or steps[axis] == steps[inner] * sizes[inner])
        if further > inner and len(sizes) > _MAP:
            sizes[further], steps[further] = sizes[further] * sizes[inner], steps[inner]
            del sizes[inner], steps[inner]
        else:
            inner += 1
    return tuple(sizes), tuple(steps)


def regions_meet(a: Region, b: Region) -> bool:
    """Whether two regions of one memory may share a byte, given that their spans of bytes overlap."""
    if a.strides != b.strides or a.bits != b.bits or len(a.shape) != len(b.shape):
        return True
    shift_bits = (b.offset_bytes - a.offset_bytes) * 8
    if shift_bits % a.bits:
        return True
    shift = shift_bits // a.bits
    # On a common grid the boxes are compared axis by axis. That needs strides that nest, as those of one tensor do, and a
    # shift along each inner axis that stays within a step of the axis around it: else the same shift has other names.
    apart = False
    for size_a, size_b, stride, outer in zip(a.shape, b.shape, a.strides, (0, *a.strides[:-1]), strict=True):
        if stride == 0 or (outer and outer % stride):
            return True
        steps, shift = _nearest(shift, stride)
        if outer and (max(size_a, size_b) + abs(steps)) * stride > outer:
            return True
        apart = apart or steps >= size_a or -steps >= size_b
    return not apart and (shift == 0 or a.bits < 8)


def _nearest(shift: int, stride: int) -> tuple[int, int]:
    """shift as whole steps of `stride` and a rest of the smallest size."""
    steps = shift // stride
    rest = shift - steps * stride
    if rest * 2 > stride:
        steps, rest = steps + 1, rest - stride
    return steps, rest


def box_on_grid(region: Region, base_bytes: int) -> Box | None:
    """The box of `region` on the grid of its own strides from `base_bytes` on; None where it lies across that grid.

    Strides have to nest, rows to start on whole bytes, and the box to end within the grid's axes: only then does every
    byte belong to one place alone.
    """
    return _box(region.offset_bytes - base_bytes, region.shape, region.strides, region.bits)


# The tiles of a tensor are seen again by each of its readers, and those of another image or layer often look the same.
@lru_cache(maxsize=1 << 14)
def _box(offset_bytes: int, shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> Box | None:
    rest, across = divmod(offset_bytes * 8, bits)
    per_byte = 8 // bits if bits < 8 else 1
    if across:
        return None
    first, stop = [], []
    outer = 0
    for size, stride in zip(shape, strides, strict=True):
        if stride == 0 or outer % stride or (outer and outer % per_byte):
            return None
        step, rest = divmod(rest, stride)
        if outer and (step + size) * stride > outer:
            return None
        first.append(step)
        stop.append(step + size)
        outer = stride
    return None if rest or outer != 1 else (tuple(first), tuple(stop))


def boxes_meet(a: Box, b: Box) -> bool:
    """Whether two boxes of one grid share an element."""
    (firsts_a, stops_a), (firsts_b, stops_b) = a, b
    for first_a, stop_a, first_b, stop_b in zip(firsts_a, stops_a, firsts_b, stops_b, strict=True):
        if stop_a <= first_b or stop_b <= first_a:
            return False
    return True


@lru_cache(maxsize=1 << 14)
def extent(shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> tuple[int, bool]:
    """The bytes from the first to one past the last of a region of this layout, and whether it covers all of them."""
    last, expected, dense = 0, 1, True
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        last += (size - 1) * stride
        dense = dense and (size == 1 or stride == expected)
        expected *= size
    return -(-(last + 1) * bits // 8), dense


def merged_spans(regions: Iterable[Region]) -> list[tuple[int, int]]:
    """The bytes between the ends of each region, merged and sorted: half-open spans that do not touch."""
    merged: list[tuple[int, int]] = []
    spans = {
        (each.offset_bytes, each.offset_bytes + extent(each.shape, each.strides, each.bits)[0]) for each in regions
    }
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def spans_meet(spans: list[tuple[int, int]], start: int, stop: int) -> bool:
    """Whether any of the merged `spans` holds a byte of start..stop."""
    place = bisect_left(spans, (start, start))
    if place < len(spans) and spans[place][0] < stop:
        return True
    return place > 0 and spans[place - 1][1] > start
