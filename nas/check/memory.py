"""Regions -> the bytes that they touch: exact overlap of two regions, and the lattices that a sweep over a memory marks.

A region is seen as a few **lattices**: runs of `run_bytes` bytes, repeated along axes of (stride_bytes, size). Contiguous
axes are merged into the run, so that nearly every region of a real program is one lattice of at most two axes. Two
lattices share a byte if and only if an equation in bounded integers has a solution (see `_reaches`), so nothing is
enumerated. This is written from the definition of `nas.ir.tensor.Region` alone and shares no code with what makes or
executes programs.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.ir.tensor import Region

Axes = tuple[tuple[int, int], ...]  # (stride, size), the largest stride first
Bounds = tuple[tuple[int, int, int], ...]  # (stride, least, greatest factor)
Integers = NDArray[np.int64]

WHOLE_BYTE = 0xFF
_SEARCH_STEPS = 20_000
_ENUMERATED_RUNS = 1 << 22
# The bytes of elements that begin within bytes at odd distances are written out, and a layout of more of them is refused.
# Rows begin on whole bytes: MobileNetV2, ResNet-18 and DoReFa's networks of 1, 2 and 4 bits have none of the 1,024 that may be; every other
# column of a map 2,048 wide is as many.
_MOST_RAGGED = 1024
_STEPS_OF_ALL_PAIRS = 10 * _SEARCH_STEPS


class Lattice(NamedTuple):
    """Bytes `start_bytes + sum(stride * index) + [0, run_bytes)`, relative to the region's first byte."""

    start_bytes: int
    run_bytes: int
    axes: Axes


@lru_cache(maxsize=1 << 16)
def span_bytes(shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> int:
    """From the first byte of a region to one past its last."""
    last_element = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return ((last_element + 1) * bits + 7) // 8


@lru_cache(maxsize=1 << 12)
def lattices(shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> tuple[Lattice, ...]:
    """The bytes of a region of this layout that starts at byte 0."""
    return tuple(lattice for lattice, _ in _pieces(shape, strides, bits, whole_bytes=True))


@lru_cache(maxsize=1 << 12)
def bit_lattices(shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> tuple[tuple[Lattice, int], ...]:
    """The bytes of a region, each lattice with the bits of its bytes that belong to an element."""
    return _pieces(shape, strides, bits, whole_bytes=False)


def _pieces(
    shape: tuple[int, ...], strides: tuple[int, ...], bits: int, whole_bytes: bool
) -> tuple[tuple[Lattice, int], ...]:
    """Lattices and the bits of their bytes; `whole_bytes`: all bits of each, whichever belong to an element."""
    merged = _merged(shape, strides)
    whole = tuple((stride * bits // 8, size) for stride, size in reversed(merged) if stride * bits % 8 == 0)
    within = [(stride, size) for stride, size in merged if stride * bits % 8]
    element = WHOLE_BYTE if whole_bytes or bits >= 8 else (1 << bits) - 1
    if not within:
        return ((_joined(0, (bits + 7) // 8, whole), element),)
    if len(within) == 1 and within[0][0] == 1:
        run_bits = within[0][1] * bits
        if whole_bytes or run_bits % 8 == 0:
            return ((_joined(0, (run_bits + 7) // 8, whole), WHOLE_BYTE),)
        last = (_joined(run_bits // 8, 1, whole), (1 << run_bits % 8) - 1)
        return ((_joined(0, run_bits // 8, whole), WHOLE_BYTE), last) if run_bits > 8 else (last,)
    # Elements of less than a byte at odd distances, which are few (see `ragged_breach`): the bytes of one row are written out.
    offsets = np.zeros(1, np.int64)
    for stride, size in within:
        offsets = np.unique(offsets[:, None] + np.arange(size, dtype=np.int64) * stride)
    touched, place = np.unique(offsets * bits >> 3, return_inverse=True)
    masks = np.zeros(len(touched), np.int64)
    np.bitwise_or.at(masks, place, WHOLE_BYTE if whole_bytes else element << (offsets * bits & 7))
    starts = [0, *(np.flatnonzero((np.diff(touched) != 1) | (np.diff(masks) != 0)) + 1).tolist()]
    runs = zip(starts, [*starts[1:], len(touched)], strict=True)
    return tuple((_joined(int(touched[start]), end - start, whole), int(masks[start])) for start, end in runs)


def _merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """(stride, size) of the axes, the smallest stride first, those that follow each other without a gap as one."""
    merged: list[tuple[int, int]] = []
    axes = [(stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1 and stride > 0]
    for stride, size in sorted(axes):
        if merged and merged[-1][0] * merged[-1][1] == stride:
            merged[-1] = (merged[-1][0], merged[-1][1] * size)
        else:
            merged.append((stride, size))
    return merged


def ragged_breach(region: Region) -> str:
    """What is wrong with a region of more elements at odd distances within bytes than anybody writes out, or ""."""
    shape, strides, bits = region.shape, region.strides, region.bits
    if bits % 8 == 0:
        return ""
    within = [(stride, size) for stride, size in _merged(shape, strides) if stride * bits % 8]
    is_row = len(within) == 1 and within[0][0] == 1
    if is_row or math.prod(size for _, size in within) <= _MOST_RAGGED:
        return ""
    return f"expected {_MOST_RAGGED} elements at odd distances at most, got {shape} and {strides} at {bits} bits"


def _joined(start_bytes: int, run_bytes: int, axes: Axes) -> Lattice:
    """The lattice, with every axis that leaves no gap between its runs made part of the run."""
    while axes and axes[-1][0] <= run_bytes:
        run_bytes += axes[-1][0] * (axes[-1][1] - 1)
        axes = axes[:-1]
    return Lattice(start_bytes, run_bytes, axes)


def overlap(a: Region, b: Region) -> bool:
    """Whether two regions share a byte."""
    if a.memory != b.memory:
        return False
    distance = b.offset_bytes - a.offset_bytes
    if distance >= span_bytes(a.shape, a.strides, a.bits) or -distance >= span_bytes(b.shape, b.strides, b.bits):
        return False
    mine, theirs = lattices(a.shape, a.strides, a.bits), lattices(b.shape, b.strides, b.bits)
    if len(mine) == len(theirs) == 1:
        return _meet(mine[0], theirs[0], distance)
    return _any_meet(mine, theirs, distance)


@lru_cache(maxsize=1 << 16)
def repeats(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a region of this layout holds the same element more than once."""
    axes = sorted((stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1)
    reach, nested = 0, True
    for stride, size in axes:
        nested = nested and stride > reach
        reach += stride * (size - 1)
    if nested:
        return False
    if axes[0][0] == 0:
        return True
    # Twice the same element: a combination of index differences, not all 0, that comes to 0; its first one is positive.
    descending = axes[::-1]
    for first, (stride, size) in enumerate(descending):
        rest = tuple((step, 1 - count, count - 1) for step, count in descending[first + 1 :])
        if _reaches(((stride, 1, size - 1), *rest), 0, 0, [_SEARCH_STEPS]) is not False:
            return True
    return False


@lru_cache(maxsize=1 << 16)
def _meet(a: Lattice, b: Lattice, distance_bytes: int) -> bool:
    """Whether `a` and `b`, whose regions start `distance_bytes` apart, share a byte."""
    reached = _search(a, b, distance_bytes, [_SEARCH_STEPS])
    return _runs_meet(a, b, distance_bytes + b.start_bytes - a.start_bytes) if reached is None else reached


def _any_meet(mine: tuple[Lattice, ...], theirs: tuple[Lattice, ...], distance_bytes: int) -> bool:
    """`_meet` for any lattice of one region and any of the other: what is too far apart is left out for all pairs at once."""
    starts, runs, ends = _columns(mine)
    other_starts, other_runs, other_ends = _columns(theirs)
    apart = distance_bytes + other_starts - starts[:, None]
    near = (distance_bytes + other_starts < ends[:, None]) & (starts[:, None] < distance_bytes + other_ends)
    unit = math.gcd(*(stride for lattice in (*mine, *theirs) for stride, _ in lattice.axes))
    if not unit:
        return bool(near.any())
    # Along the axes both move by multiples of the unit, of which one has to lie where a run touches the other.
    near &= (apart + other_runs - 1) // unit * unit > apart - runs[:, None]
    steps = [_STEPS_OF_ALL_PAIRS]
    # Too many to decide: better a false alarm than a missed overlap.
    return any(_search(mine[a], theirs[b], distance_bytes, steps) is not False for a, b in np.argwhere(near).tolist())


def _columns(lattices: tuple[Lattice, ...]) -> tuple[Integers, Integers, Integers]:
    """First bytes, lengths of a run, and ends, relative to the region's first byte."""
    starts, runs = (np.array([each[field] for each in lattices], np.int64) for field in (0, 1))
    reaches = [sum(stride * (size - 1) for stride, size in each.axes) for each in lattices]
    return starts, runs, starts + runs + np.array(reaches, np.int64)


def _search(a: Lattice, b: Lattice, distance_bytes: int, steps: list[int]) -> bool | None:
    """`_meet` by solving for the runs that touch; None when `steps` are used up."""
    distance = distance_bytes + b.start_bytes - a.start_bytes
    if not a.axes and not b.axes:
        return -b.run_bytes < distance < a.run_bytes
    # A byte of run i of `a` is one of run j of `b`: sum(stride * i) - sum(stride * j) lies between these two.
    low, high = distance - a.run_bytes + 1, distance + b.run_bytes - 1
    factors: dict[int, tuple[int, int]] = {}
    for axes, sign in ((a.axes, 1), (b.axes, -1)):
        for stride, size in axes:
            least, greatest = factors.get(stride, (0, 0))
            factors[stride] = (least, greatest + size - 1) if sign > 0 else (least - size + 1, greatest)
    return _reaches(tuple((stride, *factors[stride]) for stride in sorted(factors, reverse=True)), low, high, steps)


def _reaches(bounds: Bounds, low: int, high: int, steps: list[int]) -> bool | None:
    """Whether sum(stride * x) can lie in [low, high] with each x in its bounds; None when `steps` are used up.

    Depth first from the largest stride: what the smaller ones can still make up leaves one to three values for each x.
    """
    if not bounds:
        return low <= 0 <= high
    steps[0] -= 1
    if steps[0] < 0:
        return None
    stride, least, greatest = bounds[0]
    rest = bounds[1:]
    rest_low = sum(step * lowest for step, lowest, _ in rest)
    rest_high = sum(step * highest for step, _, highest in rest)
    first = max(least, -((rest_high - low) // stride))
    last = min(greatest, (high - rest_low) // stride)
    if not rest:
        return first <= last
    for factor in range(first, last + 1):
        reached = _reaches(rest, low - stride * factor, high - stride * factor, steps)
        if reached is not False:
            return reached
    return False


def _runs_meet(a: Lattice, b: Lattice, distance: int) -> bool:
    """`_meet` by writing out every run: for layouts with so many near-equal strides that the search gave up."""
    starts_a, starts_b = _run_starts(a), _run_starts(b)
    if starts_a is None or starts_b is None:
        return True  # too large to decide: better a false alarm than a missed overlap
    starts_b = starts_b + distance
    after = np.searchsorted(starts_a, starts_b, side="right")
    before = np.maximum(after - 1, 0)
    inside = (starts_a[before] <= starts_b) & (starts_b < starts_a[before] + a.run_bytes)
    following = np.minimum(after, len(starts_a) - 1)
    ahead = (starts_a[following] >= starts_b) & (starts_a[following] < starts_b + b.run_bytes)
    return bool((inside | ahead).any())


def _run_starts(lattice: Lattice) -> Integers | None:
    starts = np.zeros(1, np.int64)
    for stride, size in lattice.axes:
        if len(starts) * size > _ENUMERATED_RUNS:
            return None
        starts = (starts[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
    return np.sort(starts)


@lru_cache(maxsize=1 << 16)
def unit_bytes(shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> int:
    """The largest unit that divides all distances and runs of a layout."""
    unit = 0
    for (start, run, axes), _ in bit_lattices(shape, strides, bits):
        unit = math.gcd(unit, start, run, *(stride for stride, _ in axes))
    return unit
