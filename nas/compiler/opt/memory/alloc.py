"""Alloc: an address in sram for every buffer, so that no two that live at the same time overlap.

Dynamic storage allocation: NP-hard in general, easy most of the time. Buffers are placed from the largest to the smallest,
each into the tightest gap between those that live at the same time (best fit), and at the lowest address otherwise;
other orders are tried where that is not good enough, and where a better packing is possible it is searched for (`exact`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.compiler.opt.memory.exact import DIVE, Ints, columns, pack, parts
from nas.compiler.regions import aligned
from nas.ir.command import Command
from nas.ir.tensor import Region

SEARCH_NODES = 6000  # a second or two at most, for who has more to do
_THOROUGH = 200_000
_SEARCHED = 1000  # buffers that live together, directly or through others; the search for more takes too long
_SLACKS = (1.0, 1.02, 1.05, 1.1, 1.2)  # peaks over the bound that are searched for in turn


@dataclass(frozen=True)
class Allocation:
    """offsets: the address of each buffer; peak_bytes: one past the highest byte in use."""

    offsets: dict[str, int]
    peak_bytes: int


def addressed(commands: Iterable[Command], offsets: dict[str, int]) -> tuple[Command, ...]:
    """The commands with addresses in sram for the names of buffers."""

    def at(regions: tuple[Region, ...]) -> tuple[Region, ...]:
        return tuple(
            [
                each
                if each.memory == "dram"
                else Region("sram", offsets[each.memory] + each.offset_bytes, each.shape, each.strides, each.bits)
                for each in regions
            ]
        )

    return tuple(
        [Command(each.engine, each.layer, at(each.reads), at(each.writes), each.attributes) for each in commands]
    )


def lower_bound_bytes(spans: dict[str, tuple[int, int]], sizes: dict[str, int]) -> int:
    """The most bytes that live at one time: no allocation can have a lower peak."""
    return int(live_over_time(spans, sizes).max())


def live_over_time(spans: dict[str, tuple[int, int]], sizes: dict[str, int]) -> Ints:
    """The bytes that live at each moment, from 0 to the one after the last."""
    first, last = np.array(list(spans.values()), np.int64).reshape(-1, 2).T
    size = np.array([aligned(sizes[name]) for name in spans], np.int64)
    events = np.zeros(int(last.max(initial=-1)) + 2, np.int64)
    np.add.at(events, first, size)
    np.subtract.at(events, last + 1, size)
    return np.cumsum(events)


def allocate(
    spans: dict[str, tuple[int, int]],
    sizes: dict[str, int],
    capacity_bytes: int | None = None,
    nodes: int = _THOROUGH,
) -> Allocation:
    """Addresses for the buffers of `spans` (first and last command, both inclusive).

    Between moments that no buffer lives across the parts are independent. The orders are tried until one is within
    `capacity_bytes` (None: within the lower bound). Where none is, packings are searched for, up to `nodes` placements in all:
    within the capacity, or else a few per cent and more above the bound.
    """
    if not spans:
        return Allocation({}, 0)
    bound = lower_bound_bytes(spans, sizes)
    targets = [int(bound * slack) for slack in _SLACKS] if capacity_bytes is None else [capacity_bytes]
    names = list(spans)
    offsets: dict[str, int] = {}
    peak_bytes = 0
    for part in parts(*np.array(list(spans.values()), np.int64).T):
        allocation = _allocated({names[index]: spans[names[index]] for index in part}, sizes, targets, nodes)
        offsets |= allocation.offsets
        peak_bytes = max(peak_bytes, allocation.peak_bytes)
    return Allocation({name: offsets[name] for name in spans}, peak_bytes)


def _allocated(
    spans: dict[str, tuple[int, int]], sizes: dict[str, int], targets: Sequence[int], nodes: int
) -> Allocation:
    """Within the first of `targets` if the placing orders come so far, else within the first that the search finds."""
    best: Allocation | None = None
    lives = _in_columns(spans)
    for order in _ORDERS:
        allocation = _place(sorted(spans, key=lambda name: (*order(sizes[name], spans[name]), name)), lives, sizes)
        if best is None or allocation.peak_bytes < best.peak_bytes:
            best = allocation
        if best.peak_bytes <= targets[0]:
            break
    assert best is not None
    if not nodes or len(spans) > _SEARCHED:
        return best
    bound = lower_bound_bytes(spans, sizes)
    for target in targets:
        if bound <= target < best.peak_bytes:
            found = searched(spans, sizes, target, nodes // len(targets))
            if found is not None:
                return found
    return best


def searched(
    spans: dict[str, tuple[int, int]], sizes: dict[str, int], capacity_bytes: int, nodes: int, dive: float = DIVE
) -> Allocation | None:
    """Addresses within a capacity; None where there are none, or none were found: see `exact.pack`."""
    first, last = np.array(list(spans.values()), np.int64).T
    size = np.array([aligned(sizes[name]) for name in spans], np.int64)
    offset = pack(first, last, size, capacity_bytes, nodes, dive)
    if offset is None:
        return None
    return Allocation(dict(zip(spans, offset.tolist(), strict=True)), int((offset + size).max()))


# Buffers are found by the time at which they live, in steps of so many columns.
_TIME = 32
_Order = Callable[[int, tuple[int, int]], tuple[int, ...]]
# Large first; long and large first; long first; in the order of time.
_ORDERS: tuple[_Order, ...] = (
    lambda size, span: (-size, *span),
    lambda size, span: (-size * (span[1] - span[0] + 1), *span),
    lambda size, span: (span[0] - span[1], -size),
    lambda size, span: (span[0], -size),
)


def _in_columns(spans: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The same lives, counted in `columns`, so that placing takes no longer where moments are far apart."""
    begin, end = columns(*np.array(list(spans.values()), np.int64).T)
    return dict(zip(spans, zip(begin.tolist(), (end - 1).tolist(), strict=True), strict=True))


def _place(names: list[str], spans: dict[str, tuple[int, int]], sizes: dict[str, int]) -> Allocation:
    placed: dict[int, list[tuple[int, int, int, int]]] = {}  # by time: first, last, offset, size
    offsets: dict[str, int] = {}
    peak_bytes = 0
    for name in names:
        (first, last), size_bytes = spans[name], aligned(sizes[name])
        times = range(first // _TIME, last // _TIME + 1)
        # A buffer of several times is met several times; that makes no gap smaller.
        meets = [
            (offset, size)
            for time in times
            for begins, ends, offset, size in placed.get(time, ())
            if begins <= last and first <= ends
        ]
        start = offsets[name] = best_gap(meets, size_bytes)
        peak_bytes = max(peak_bytes, start + size_bytes)
        for time in times:
            placed.setdefault(time, []).append((first, last, start, size_bytes))
    return Allocation(offsets, peak_bytes)


def best_gap(taken: Iterable[tuple[int, int]], size_bytes: int) -> int:
    """The start of the smallest gap of at least `size_bytes` between the taken (offset, size), or the end of the last."""
    best, best_size = -1, 0
    end = 0
    for start, length in sorted(taken):
        gap = start - end
        if gap >= size_bytes and (best < 0 or gap < best_size):
            best, best_size = end, gap
        stop = start + length
        if stop > end:  # noqa: PLR1730 (max() would take a fifth of all planning)
            end = stop
    return end if best < 0 else best
