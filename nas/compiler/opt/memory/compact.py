"""Compact: little more sram than the bytes that live at one time, where that makes nobody wait.

Buffers that keep their bytes for a while after their last use, and loads that come early, spread over all the room there is.
What sticks out over `_CLOSE` times the most bytes that live at one time moves down, each buffer to a gap that was free for as
long before and behind as can be had. Where that fails and the sram is half empty, or the peak is
`_FAR` above the bound, all is packed anew.

The latency of eleven networks on `server_npu` grew by 0.05 % in the mean and 0.3 % at most, for 1.21 times less room. On a
full sram packing anew would cost up to 1.7 %, so that nothing but the first is done there.
"""

import numpy as np

from nas.compiler.opt.memory.alloc import SEARCH_NODES, Allocation, allocate, best_gap, lower_bound_bytes
from nas.compiler.opt.memory.prefetch import lifetimes
from nas.compiler.regions import aligned
from nas.ir.command import Command

_CLOSE, _FAR = 1.02, 1.1
_SLACKS = (12, 6, 3, 1, 0)
_Spans = dict[str, tuple[int, int]]


def compact(
    commands: list[Command], buffer_bytes: dict[str, int], allocation: Allocation, capacity_bytes: int
) -> Allocation:
    """Addresses with a lower peak for commands in their last order; `allocation` itself where none are found."""
    spans = lifetimes(commands, buffer_bytes)
    limit_bytes = int(lower_bound_bytes(spans, buffer_bytes) * _CLOSE)
    if allocation.peak_bytes <= limit_bytes:
        return allocation
    lowered = _lowered(spans, buffer_bytes, allocation, limit_bytes)
    if lowered is not None:
        return lowered
    if allocation.peak_bytes > capacity_bytes // 2 and allocation.peak_bytes * _CLOSE < limit_bytes * _FAR:
        return allocation
    for slack in _SLACKS:
        stretched = {name: (first, last + slack) for name, (first, last) in spans.items()}
        if lower_bound_bytes(stretched, buffer_bytes) <= limit_bytes:
            packed = allocate(stretched, buffer_bytes, limit_bytes, 0 if slack else SEARCH_NODES)
            if packed.peak_bytes <= limit_bytes:
                return packed
    return allocation


def _lowered(
    spans: _Spans, buffer_bytes: dict[str, int], allocation: Allocation, limit_bytes: int
) -> Allocation | None:
    """The same addresses but for the buffers that end above the limit; None where one has no place below it."""
    names = list(spans)
    first, last = np.array(list(spans.values()), np.int64).T
    size = np.array([aligned(buffer_bytes[name]) for name in names], np.int64)
    start = np.array([allocation.offsets[name] for name in names], np.int64)
    placed = start + size <= limit_bytes
    for number in sorted(np.flatnonzero(~placed).tolist(), key=lambda each: (-int(size[each]), each)):
        for slack in _SLACKS:
            near = placed & (first <= last[number] + slack) & (last >= first[number] - slack)
            place = best_gap(zip(start[near].tolist(), size[near].tolist(), strict=True), int(size[number]))
            if place + size[number] <= limit_bytes:
                break
        else:
            return None
        start[number], placed[number] = place, True
    return Allocation(dict(zip(names, start.tolist(), strict=True)), int((start + size).max()))
