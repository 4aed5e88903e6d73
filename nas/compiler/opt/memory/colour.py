"""Colour: other addresses for a few buffers, so that what one engine fills lies in other pages than what another drains.

A page of the sram is a colour. The commands are simulated as they are; of those that conflicts cost most, the operands, and
what others touch in the meantime, are tried in every gap that stays free for as long as the buffer lives. A move is judged
by what the ports of the fullest page are asked for during a command (the bytes of the command and, of those that run beside
it, the part that falls into its time) and made where that saves cycles in all. The result is simulated again, and kept only
if it is faster, so that no program is slower for its colours.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nas.compiler.memo import Memo
from nas.compiler.opt.memory.alloc import Allocation, addressed
from nas.compiler.opt.memory.prefetch import lifetimes
from nas.compiler.parallel.trial import commands_tried
from nas.compiler.regions import ALIGNMENT_BYTES, aligned
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.tensor import Region
from nas.sim.pages import region_pages
from nas.sim.trace import Trace
from nas.timing.cycles import bandwidth, clock
from nas.timing.price import command_price

_ENGINES = ("matrix", "vector")
_WORTH = 500  # conflicts below so small a part of the program's time are let be
WORTH_ROOM = 100  # where it takes a higher peak a gain has to be so large a part of it
_ROUNDS = 2
_TRIED = 32  # commands a round, those that conflicts cost most
# Of places that are as good the first counts: who gets bytes that were in use just now would have to wait for that use.
_SLACKS = (6, 0)


@dataclass(frozen=True)
class Timed:
    """Commands, the addresses of their buffers, both in one, and what a simulation of it saw."""

    commands: list[Command]
    allocation: Allocation
    placed: tuple[Command, ...]
    trace: Trace

    @property
    def has_conflicts(self) -> bool:
        """Whether bank conflicts cost so much that it is worth to do something about them."""
        return self.trace.conflict_cycles * _WORTH >= max(1, self.trace.cycles)


def timed(commands: list[Command], allocation: Allocation, processor: Processor, memo: Memo) -> Timed:
    """Simulate commands on buffers at these addresses."""
    placed = addressed(commands, allocation.offsets)
    return Timed(commands, allocation, placed, memo.lately(commands_tried, placed, processor).trace)


def faster(one: Timed, other: Timed) -> Timed:
    """The faster of two, the first of equals; if the other takes more room it has to be worth that."""
    gain = one.trace.cycles - other.trace.cycles
    roomy = other.allocation.peak_bytes > one.allocation.peak_bytes
    return other if gain > 0 and (not roomy or gain * WORTH_ROOM >= one.trace.cycles) else one


def colour(before: Timed, buffer_bytes: dict[str, int], processor: Processor, memo: Memo) -> Timed:
    """The same commands at addresses within the sram at which they are faster; `before` itself if none are found."""
    best = before
    for _ in range(_ROUNDS):
        if not best.has_conflicts:
            break
        moved = _Colouring(best, buffer_bytes, processor).moved()
        after = best if moved.offsets == best.allocation.offsets else timed(best.commands, moved, processor, memo)
        if faster(best, after) is best:
            break
        best = after
    return best


def may_conflict(commands: list[Command], processor: Processor) -> bool:
    """Whether a page could be asked for more than its ports have, by the greediest command of either engine and the dram."""
    sram = processor.sram
    if sram.page_count == 1:
        return False
    paces = dict.fromkeys(_ENGINES, 0.0)
    for command in commands:
        if command.engine in paces:
            price = command_price(command, processor)
            cycles = max(1, price.cycles - processor.issue_cycles)
            paces[command.engine] = max(paces[command.engine], price.sram_bytes / cycles)
    return sum(paces.values()) + bandwidth(processor) / clock(processor) > sram.page_port_bytes


class _Colouring:
    """One round of moves, by the times of one simulation."""

    def __init__(self, before: Timed, buffer_bytes: dict[str, int], processor: Processor) -> None:
        self._commands, self._offsets = before.commands, dict(before.allocation.offsets)
        self._sram, self._issue_cycles = processor.sram, processor.issue_cycles
        self._page_bytes = processor.sram.size_bytes // processor.sram.page_count
        spans = lifetimes(self._commands, buffer_bytes)
        self._names = list(spans)
        self._first, self._last = np.array(list(spans.values()), np.int64).reshape(-1, 2).T
        self._size = np.array([aligned(buffer_bytes[name]) for name in self._names], np.int64)
        self._start = np.array([self._offsets[name] for name in self._names], np.int64)
        self._number = {name: number for number, name in enumerate(self._names)}
        self._users: dict[str, list[int]] = {}
        for index, command in enumerate(self._commands):
            for name in _buffers(command):
                self._users.setdefault(name, []).append(index)
        self._set_times(before.trace)
        self._beside: dict[int, list[tuple[int, float]]] = {}
        self._bytes: dict[int, list[int]] = {}

    def _set_times(self, trace: Trace) -> None:
        """When each command runs; those of an engine run in their order in the program."""
        self._queues: dict[str, list[int]] = {}
        for index, command in enumerate(self._commands):
            self._queues.setdefault(command.engine, []).append(index)
        places = dict.fromkeys(self._queues, 0)
        self._begin, self._end = [0] * len(self._commands), [0] * len(self._commands)
        self._conflict, self._alone = [0] * len(self._commands), [0] * len(self._commands)
        for span in trace.spans:
            index = self._queues[span.engine][places[span.engine]]
            places[span.engine] += 1
            self._begin[index], self._end[index] = span.start_cycles, span.end_cycles
            self._conflict[index] = span.conflict_cycles
            self._alone[index] = span.busy_cycles - span.conflict_cycles - self._issue_cycles
        self._ends = {engine: [self._end[index] for index in queue] for engine, queue in self._queues.items()}

    def moved(self) -> Allocation:
        """The addresses after all moves that help."""
        costly = sorted((-cycles, index) for index, cycles in enumerate(self._conflict) if cycles)
        seen: set[str] = set()
        for _, index in costly[:_TRIED]:
            near = [index, *(other for other, _ in self._at_the_same_time(index))]
            for name in dict.fromkeys(name for each in near for name in _buffers(self._commands[each])):
                if name not in seen and self._cost([index]):
                    seen.add(name)
                    self._move(name)
        peak_bytes = int((self._start + self._size).max())
        return Allocation(self._offsets, peak_bytes)

    def _move(self, name: str) -> None:
        """Move a buffer to where it saves most, if anywhere."""
        touched = self._users[name]
        beside = (other for index in touched for other, _ in self._at_the_same_time(index))
        judged = [each for each in dict.fromkeys((*touched, *beside)) if self._commands[each].engine in _ENGINES]
        best, best_cost = self._offsets[name], self._cost(judged)
        for place in (each for slack in _SLACKS for each in self._places(name, slack)):
            self._put(name, place)
            cost = self._cost(judged)
            if cost < best_cost:
                best, best_cost = place, cost
        self._put(name, best)

    def _put(self, name: str, place: int) -> None:
        self._offsets[name] = place
        self._start[self._number[name]] = place
        for index in self._users[name]:
            self._bytes.pop(index, None)

    def _places(self, name: str, slack: int) -> Iterator[int]:
        """Of every gap that is free while the buffer lives, and `slack` commands before and behind, both ends, and where the
        buffer would begin or lie across a page's begin.
        """
        own = self._number[name]
        size, count = int(self._size[own]), self._sram.page_count
        meets = (self._first <= self._last[own] + slack) & (self._last >= self._first[own] - slack)
        meets[own] = False
        taken = sorted(zip(self._start[meets].tolist(), self._size[meets].tolist(), strict=True))
        edges = [page * self._page_bytes for page in range(1, count)]
        end = 0
        for start, length in (*taken, (self._sram.size_bytes, 0)):
            if start - end >= size:
                inner = {aligned(place) for edge in edges for place in (edge, edge - size // 2)}
                last = (start - size) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
                yield from sorted(each for each in {end, last, *inner} if end <= each <= start - size)
            end = max(end, start + length)

    def _cost(self, indices: Iterable[int]) -> float:
        """About the cycles that conflicts cost these commands."""
        port_bytes, total = self._sram.page_port_bytes, 0.0
        for index in indices:
            own = self._pages(index)
            asked: list[float] = list(own)
            for other, share in self._at_the_same_time(index):
                for page, size_bytes in enumerate(self._pages(other)):
                    asked[page] += share * size_bytes
            fullest = max((much for much, mine in zip(asked, own, strict=True) if mine), default=0.0)
            total += max(0.0, fullest / port_bytes - self._alone[index])
        return total

    def _at_the_same_time(self, index: int) -> list[tuple[int, float]]:
        """The commands that run beside this one, and what share of each falls into its time."""
        if index not in self._beside:
            begin, end = self._begin[index], self._end[index]
            found = []
            for engine, queue in self._queues.items():
                place = bisect_left(self._ends[engine], begin + 1)
                while engine != self._commands[index].engine and place < len(queue):
                    other = queue[place]
                    if self._begin[other] >= end:
                        break
                    both = min(end, self._end[other]) - max(begin, self._begin[other])
                    found.append((other, both / (self._end[other] - self._begin[other])))
                    place += 1
            self._beside[index] = found
        return self._beside[index]

    def _pages(self, index: int) -> list[int]:
        """The bytes of a command in each page."""
        if index not in self._bytes:
            total = [0] * self._sram.page_count
            command = self._commands[index]
            for region in (*command.reads, *command.writes):
                if region.memory != "dram":
                    here = Region(
                        "sram",
                        self._offsets[region.memory] + region.offset_bytes,
                        region.shape,
                        region.strides,
                        region.bits,
                    )
                    for page, size_bytes in region_pages(here, self._page_bytes, self._sram.page_count):
                        total[page] += size_bytes
            self._bytes[index] = total
        return self._bytes[index]


def _buffers(command: Command) -> Iterator[str]:
    """The buffers that a command touches."""
    for region in (*command.reads, *command.writes):
        if region.memory != "dram":
            yield region.memory
