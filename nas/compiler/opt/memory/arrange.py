"""Arrange: commands on named buffers -> their last order, and an address in sram for every buffer, of a good colour in the end."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.compiler.memo import Memo
from nas.compiler.opt.memory.alloc import (
    SEARCH_NODES,
    Allocation,
    addressed,
    allocate,
    live_over_time,
    lower_bound_bytes,
)
from nas.compiler.opt.memory.colour import colour, faster, may_conflict, timed
from nas.compiler.opt.memory.compact import compact
from nas.compiler.opt.memory.prefetch import lifetimes, prefetch
from nas.compiler.regions import aligned
from nas.hw.spec import Processor
from nas.ir.command import Command, Load

Spans = dict[str, tuple[int, int]]

# So many commands a load may move up, and where the sram holds a good part of all that is loaded. Elsewhere looking further finds no
# room that lasts, and takes longer.
_WINDOW, _WIDE_WINDOW = 64, 1024
_GOOD_PART = 4
# For so many commands after its last use a buffer keeps its bytes, if there is room for all to do so: whoever gets them next
# would have to wait for that use, and engines that wait for each other's bytes don't work at the same time.
_SLACKS = (12, 6, 3, 1, 0)
# So many where there is room in some places only.
_LOCAL = 3


@dataclass(frozen=True)
class Arranged:
    """Commands on named buffers of so many bytes, and the addresses of these; plain: the commands before any load was moved."""

    commands: list[Command]
    buffer_bytes: dict[str, int]
    allocation: Allocation
    plain: list[Command]

    @property
    def peak_bytes(self) -> int:
        """One past the highest byte in use; over the sram's size where nothing fits it."""
        return self.allocation.peak_bytes

    def placed(self) -> tuple[Command, ...]:
        """The commands at their addresses."""
        return addressed(self.commands, self.allocation.offsets)


def arranged(
    commands: list[Command], buffer_bytes: dict[str, int], processor: Processor, switched_off: frozenset[str]
) -> Arranged:
    """The commands with early loads, at addresses that spread over all the room there is."""
    plain, capacity_bytes = commands, processor.sram.size_bytes
    allocation = _allocated(commands, buffer_bytes, capacity_bytes)
    if allocation.peak_bytes <= capacity_bytes and "prefetch" not in switched_off:
        window = _window(commands, capacity_bytes)
        commands, allocation = prefetch(commands, buffer_bytes, allocation, capacity_bytes, window)
    return Arranged(commands, buffer_bytes, allocation, plain)


def _window(commands: list[Command], capacity_bytes: int) -> int:
    loaded_bytes = sum(each.reads[0].payload_bytes for each in commands if type(each.attributes) is Load)
    return _WIDE_WINDOW if _GOOD_PART * capacity_bytes >= loaded_bytes else _WINDOW


def compacted(found: Arranged, processor: Processor, switched_off: frozenset[str], memo: Memo) -> Arranged:
    """The same at addresses in little room, unless the room is worth its price; `found` itself then."""
    if "compact" in switched_off:
        return found
    allocation = compact(found.commands, found.buffer_bytes, found.allocation, processor.sram.size_bytes)
    if allocation is found.allocation:
        return found
    close, loose = (timed(found.commands, each, processor, memo) for each in (allocation, found.allocation))
    return found if faster(close, loose) is loose else replace(found, allocation=allocation)


def coloured(found: Arranged, processor: Processor, switched_off: frozenset[str], memo: Memo) -> Arranged:
    """The same at addresses of good colours, where these are better; `found` itself otherwise."""
    if "colour" in switched_off or not may_conflict(found.commands, processor):
        return found
    before = timed(found.commands, found.allocation, processor, memo)
    after = colour(before, found.buffer_bytes, processor, memo)
    return found if after is before else replace(found, allocation=after.allocation)


def _allocated(commands: list[Command], buffer_bytes: dict[str, int], capacity_bytes: int) -> Allocation:
    """Addresses for buffers that live as long beyond their last use as there is room for."""
    spans = lifetimes(commands, buffer_bytes)
    for slack in _SLACKS:
        stretched = _stretched(spans, dict.fromkeys(spans, slack))
        if slack and lower_bound_bytes(stretched, buffer_bytes) > capacity_bytes:
            continue
        allocation = allocate(stretched, buffer_bytes, capacity_bytes, 0 if slack else SEARCH_NODES)
        if allocation.peak_bytes <= capacity_bytes:
            break
    if slack >= _LOCAL or allocation.peak_bytes > capacity_bytes:
        return allocation
    return _longer(spans, buffer_bytes, capacity_bytes, slack) or allocation


def _longer(spans: Spans, buffer_bytes: dict[str, int], capacity_bytes: int, least: int) -> Allocation | None:
    """Addresses where more than the slack that all can have, `least`, is given to those that have room; None where nobody has."""
    slacks = dict.fromkeys(spans, _LOCAL)
    while any(slack > least for slack in slacks.values()):
        stretched = _stretched(spans, slacks)
        tight = _over(spans, stretched, buffer_bytes, capacity_bytes)
        if not tight:
            allocation = allocate(stretched, buffer_bytes, capacity_bytes, 0)
            if allocation.peak_bytes <= capacity_bytes:
                return allocation
            tight = _beside_the_highest(stretched, buffer_bytes, allocation, capacity_bytes)
        # Where those that don't pack have none to lose, all others lose some.
        losing = [name for name in tight if slacks[name] > least] or [n for n, slack in slacks.items() if slack > least]
        for name in losing:
            slacks[name] = next(slack for slack in _SLACKS if slack < slacks[name])
    return None


def _stretched(spans: Spans, slacks: dict[str, int]) -> Spans:
    return {name: (first, last + slacks[name]) for name, (first, last) in spans.items()}


def _over(spans: Spans, stretched: Spans, buffer_bytes: dict[str, int], capacity_bytes: int) -> list[str]:
    """The buffers that, by their slack alone, are there when more lives than the sram holds."""
    before = _counted(live_over_time(stretched, buffer_bytes) > capacity_bytes, _end(stretched))
    return [name for name, (_, last) in spans.items() if before[stretched[name][1] + 1] > before[last + 1]]


def _beside_the_highest(
    stretched: Spans, buffer_bytes: dict[str, int], allocation: Allocation, capacity_bytes: int
) -> list[str]:
    """The buffers that live beside one whose address is out of the sram."""
    out = {
        name: stretched[name]
        for name, start in allocation.offsets.items()
        if start + aligned(buffer_bytes[name]) > capacity_bytes
    }
    before = _counted(live_over_time(out, buffer_bytes) > 0, _end(stretched))
    return [name for name, (first, last) in stretched.items() if before[last + 1] > before[first]]


def _end(spans: Spans) -> int:
    return max(last for _, last in spans.values())


def _counted(moments: NDArray[np.bool_], end: int) -> list[int]:
    """How many moments that are true come before each, up to the second behind `end`; those that are not given are false."""
    before = np.zeros(end + 2, np.int64)
    before[1:] = np.cumsum(np.pad(moments[: end + 1], (0, max(0, end + 1 - moments.size))))
    return before.tolist()
