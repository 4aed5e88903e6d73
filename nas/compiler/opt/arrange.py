"""Arrange: commands on named buffers -> their last order, and an address in sram for every buffer."""

import numpy as np

from nas.compiler.memo import Memo
from nas.compiler.opt.alloc import SEARCH_NODES, Allocation, addressed, allocate, lower_bound_bytes
from nas.compiler.opt.colour import colour, faster, may_conflict, timed
from nas.compiler.opt.compact import compact
from nas.compiler.opt.prefetch import lifetimes, prefetch
from nas.compiler.regions import aligned
from nas.hw.spec import Processor
from nas.ir.command import Command

_Planned = tuple[list[Command], Allocation]
Spans = dict[str, tuple[int, int]]

_WINDOW = 64
# For so many commands after its last use a buffer keeps its bytes: whoever gets them next would have to wait for that use, and
# engines that wait for each other's bytes don't work at the same time. If there is room for all to do so; otherwise the
# shorter ones, for those that have room beside them.
_EVERYWHERE, _SLACKS = (12, 6), (3, 1, 0)


def arranged(
    commands: list[Command],
    buffer_bytes: dict[str, int],
    processor: Processor,
    switched_off: frozenset[str],
    memo: Memo,
) -> tuple[tuple[Command, ...], int]:
    """The commands with early loads, at addresses in little room and of good colours, and one past the highest byte in use.

    That is over the sram's size where nothing fits it.
    """
    capacity_bytes = processor.sram.size_bytes
    plain = _allocated(commands, buffer_bytes, capacity_bytes)
    if plain.peak_bytes > capacity_bytes:
        return addressed(commands, plain.offsets), plain.peak_bytes

    def prefetched(allocation: Allocation) -> _Planned:
        if "prefetch" in switched_off:
            return commands, allocation
        return prefetch(commands, buffer_bytes, allocation, capacity_bytes, _WINDOW)

    found = prefetched(plain)
    if "compact" not in switched_off:
        found = found[0], compact(found[0], buffer_bytes, found[1], capacity_bytes)
    if "colour" in switched_off or not may_conflict(found[0], processor):
        return addressed(found[0], found[1].offsets), found[1].peak_bytes
    best = timed(*found, processor, memo)
    if best.has_conflicts:
        best = colour(best, buffer_bytes, processor, memo)
        # Before loads have moved up there is more room to choose from.
        early = colour(timed(commands, plain, processor, memo), buffer_bytes, processor, memo).allocation
        if early is not plain:
            best = faster(best, colour(timed(*prefetched(early), processor, memo), buffer_bytes, processor, memo))
    return best.placed, best.allocation.peak_bytes


def _allocated(commands: list[Command], buffer_bytes: dict[str, int], capacity_bytes: int) -> Allocation:
    """Addresses for buffers that live as long beyond their last use as there is room for."""
    spans = lifetimes(commands, buffer_bytes)
    for slack in _EVERYWHERE:
        stretched = {name: (first, last + slack) for name, (first, last) in spans.items()}
        if lower_bound_bytes(stretched, buffer_bytes) <= capacity_bytes:
            allocation = allocate(stretched, buffer_bytes, capacity_bytes, 0)
            if allocation.peak_bytes <= capacity_bytes:
                return allocation
    return _allocated_in_places(spans, buffer_bytes, capacity_bytes)


def _allocated_in_places(spans: Spans, buffer_bytes: dict[str, int], capacity_bytes: int) -> Allocation:
    """The same where there is room for that in some places only."""
    levels = dict.fromkeys(spans, 0)  # places in `_SLACKS`
    while True:
        stretched = {name: (first, last + _SLACKS[levels[name]]) for name, (first, last) in spans.items()}
        tight = _over(spans, stretched, buffer_bytes, capacity_bytes)
        if not tight:
            slack = any(_SLACKS[level] for level in levels.values())
            allocation = allocate(stretched, buffer_bytes, capacity_bytes, 0 if slack else SEARCH_NODES)
            if allocation.peak_bytes <= capacity_bytes or not slack:
                return allocation
            tight = _beside_the_highest(stretched, buffer_bytes, allocation, capacity_bytes)
        # Where what doesn't pack has no slack that it could lose, all others lose some.
        for name in [each for each in tight if _SLACKS[levels[each]]] or [
            each for each in spans if _SLACKS[levels[each]]
        ]:
            levels[name] += 1


def _over(spans: Spans, stretched: Spans, buffer_bytes: dict[str, int], capacity_bytes: int) -> list[str]:
    """The buffers that, by their slack alone, are there when more lives than the sram holds."""
    size = np.array([aligned(buffer_bytes[name]) for name in spans], np.int64)
    last = np.array([span[1] for span in spans.values()], np.int64)
    first, end = np.array(list(stretched.values()), np.int64).reshape(-1, 2).T
    change = np.zeros(int(end.max(initial=0)) + 2, np.int64)
    np.add.at(change, first, size)
    np.subtract.at(change, end + 1, size)
    before = np.concatenate([[0], np.cumsum(np.cumsum(change) > capacity_bytes)])  # moments that are over, before each
    return [name for name, over in zip(spans, before[end + 1] > before[last + 1], strict=True) if over]


def _beside_the_highest(
    stretched: Spans, buffer_bytes: dict[str, int], allocation: Allocation, capacity_bytes: int
) -> list[str]:
    """The buffers that live beside one whose address is out of the sram."""
    out = [
        stretched[name]
        for name, start in allocation.offsets.items()
        if start + aligned(buffer_bytes[name]) > capacity_bytes
    ]
    return [name for name, (first, last) in stretched.items() if any(a <= last and first <= b for a, b in out)]
