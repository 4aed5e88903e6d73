"""Arrange: commands on named buffers -> their last order, and an address in sram for every buffer."""

from nas.compiler.memo import Memo
from nas.compiler.opt.alloc import SEARCH_NODES, Allocation, addressed, allocate, lower_bound_bytes
from nas.compiler.opt.colour import colour, faster, may_conflict, timed
from nas.compiler.opt.compact import compact
from nas.compiler.opt.prefetch import lifetimes, prefetch
from nas.hw.spec import Processor
from nas.ir.command import Command

_Planned = tuple[list[Command], Allocation]
Spans = dict[str, tuple[int, int]]

_WINDOW = 64
# For so many commands after its last use a buffer keeps its bytes, if there is room: whoever gets them next would have to
# wait for that use, and engines that wait for each other's bytes don't work at the same time.
_SLACKS = (12, 6, 3, 1, 0)


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
    for slack in _SLACKS:
        stretched = _stretched(spans, slack)
        if slack and lower_bound_bytes(stretched, buffer_bytes) > capacity_bytes:
            continue
        allocation = allocate(stretched, buffer_bytes, capacity_bytes, 0 if slack else SEARCH_NODES)
        if allocation.peak_bytes <= capacity_bytes:
            break
    return allocation


def _stretched(spans: Spans, slack: int) -> Spans:
    return {name: (first, last + slack) for name, (first, last) in spans.items()}
