"""Prefetch: loads move up in the order, as far as the sram has room to hold what they bring until it is used.

The load queue runs ahead of the other engines only as far as addresses allow. So a load moves just as far as there is an
address that nothing else uses from its new place to its last use, and the transfer hides behind work.
"""

from bisect import bisect_left

import numpy as np

from nas.compiler.opt.memory.alloc import Allocation, best_gap
from nas.compiler.regions import aligned
from nas.ir.command import Command, Load
from nas.ir.overlap import merged_spans, regions_meet, spans_meet


def lifetimes(commands: list[Command], buffer_bytes: dict[str, int]) -> dict[str, tuple[int, int]]:
    """For each buffer the first and the last command that touches it."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, command in enumerate(commands):
        for region in command.reads:
            last[region.memory] = index
        for region in command.writes:
            last[region.memory] = index
    for index in range(len(commands) - 1, -1, -1):
        for region in commands[index].reads:
            first[region.memory] = index
        for region in commands[index].writes:
            first[region.memory] = index
    return {name: (first[name], end) for name, end in last.items() if name in buffer_bytes}


def is_movable(command: Command, index: int, spans: dict[str, tuple[int, int]]) -> bool:
    """Whether a command is a load that touches its buffer first. spans: see `lifetimes`."""
    return type(command.attributes) is Load and spans[command.writes[0].memory][0] == index


def prefetch(
    commands: list[Command],
    buffer_bytes: dict[str, int],
    allocation: Allocation,
    capacity_bytes: int,
    window: int,
) -> tuple[list[Command], Allocation]:
    """The same commands with loads moved up to `window` commands earlier, and addresses for which that is right.

    allocation: addresses for the commands as they are; a buffer keeps its own unless its load can start earlier at
    another. Loads of constants keep their order among themselves, so that the earliest need is still served first. What the
    program itself stores to dram is loaded behind the last store of it, and constants may pass such a load.
    """
    spans = lifetimes(commands, buffer_bytes)
    names = list(spans)
    number = {name: index for index, name in enumerate(names)}
    begins, last = (np.array([spans[name][end] for name in names], np.int64) for end in (0, 1))
    first, ends = begins.tolist(), last.tolist()
    size = [aligned(buffer_bytes[name]) for name in names]
    offset = [allocation.offsets[name] for name in names]
    stored = Stored(commands)
    starts: dict[int, int] = {}

    earliest = 0
    for start in range(0, len(commands), window):
        # All that can meet what is loaded from here to the next stop, so that a load looks at few buffers.
        loads = [
            index
            for index in range(start, min(start + window, len(commands)))
            if is_movable(commands[index], index, spans)
        ]
        horizon = max((spans[commands[index].writes[0].memory][1] for index in loads), default=0)
        near = np.flatnonzero((last >= start - window) & (begins <= horizon)).tolist()
        for index in loads:
            own = number[commands[index].writes[0].memory]
            stored_before = stored.before(index, index - window)
            low, high = max(earliest, index - window), index  # it can stay at `high`; how far below can it go?
            if stored_before is not None:
                low = min(index, max(index - window, stored_before + 1))
            others = sorted(
                (offset[each], size[each], ends[each])
                for each in near
                if first[each] <= ends[own] and ends[each] >= low and each != own
            )
            middle = low  # mostly there is room all the way
            while low < high:
                if _has_room(others, middle, size[own], capacity_bytes):
                    high = middle
                else:
                    low = middle + 1
                middle = (low + high) // 2
            if high < index:
                first[own] = high
                offset[own] = best_gap([(begin, length) for begin, length, end in others if end >= high], size[own])
            starts[index] = first[own]
            if stored_before is None:
                earliest = first[own]
    peak_bytes = max((start + length for start, length in zip(offset, size, strict=True)), default=0)
    moved = Allocation(dict(zip(names, offset, strict=True)), peak_bytes)
    return moved_up(commands, starts), moved


def moved_up(commands: list[Command], starts: dict[int, int]) -> list[Command]:
    """The commands with some in front of others: the number of the one before which each is to stand, by its own number."""
    keys = [(starts.get(index, index), index not in starts, index) for index in range(len(commands))]
    return [commands[index] for *_, index in sorted(keys)]


def _has_room(others: list[tuple[int, int, int]], since: int, size_bytes: int, capacity_bytes: int) -> bool:
    """Whether there is a gap between those of `others` (offset, size, last command; by offset) that live at `since` or later."""
    end = 0
    for start, length, last in others:
        if last >= since:
            if start - end >= size_bytes:
                return True
            stop = start + length
            if stop > end:  # noqa: PLR1730 (max() takes as long as all the rest)
                end = stop
    return end + size_bytes <= capacity_bytes


class Stored:
    """What a program writes to dram itself."""

    def __init__(self, commands: list[Command]) -> None:
        self._commands = commands
        self._writes = [
            (index, region)
            for index, command in enumerate(commands)
            for region in command.writes
            if region.memory == "dram"
        ]
        self._spans = merged_spans(region for _, region in self._writes)
        self._indices = [index for index, _ in self._writes]

    def before(self, index: int, first: int) -> int | None:
        """The last command before `index` that stores what the load at `index` reads, `first` if none since then; None if it reads
        nothing that is ever stored.
        """
        source = self._commands[index].reads[0]
        start, stop = source.offset_bytes, source.end_bytes
        if not spans_meet(self._spans, start, stop):
            return None
        place = bisect_left(self._indices, index)
        while place and self._indices[place - 1] >= first:
            place -= 1
            each = self._writes[place][1]
            if each.offset_bytes < stop and start < each.end_bytes and regions_meet(each, source):
                return self._indices[place]
        return first - 1
