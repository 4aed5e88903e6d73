"""List scheduling: the commands of all cores, with what each must follow -> one order, and with it that of every queue.

Time is simulated roughly: each engine does one command after the other, each takes as long as alone on the processor, and
the bytes of all transfers go through the dram one transfer after the other. An engine that is free takes, of all commands
that may start, the one that comes first in its core's own program; if none may, it waits for the first that can. So a
transfer that waits for another core lets those behind it pass (R. Graham, "Bounds on multiprocessing timing anomalies",
1969, for what such schedules are worth).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from nas.core.errors import ContractError
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.timing.cycles import transfer_cycles
from nas.timing.price import command_price


@dataclass(frozen=True)
class Job:
    """A command, the queue of its engine, its place in its core's program, and the numbers of the jobs before it."""

    command: Command
    queue: str
    place: int
    after: set[int]


@dataclass(frozen=True)
class Schedule:
    """numbers: of the jobs in the order in which they start, each behind all that it must follow; cycles: until all have ended."""

    numbers: tuple[int, ...]
    cycles: int


class _Queue:
    """The commands of one engine, by their places: `ready` ones, and those `waiting` that will be from some cycle on.

    While the first that is left has to wait, those of a place up to `window` behind it may pass it; the others are `far`.
    """

    def __init__(self, window: int | None) -> None:
        self.free_cycle = 0
        self._window = window
        self._places: list[int] = []
        self._done: set[int] = set()
        self._first = 0
        self._waiting: list[tuple[int, int, int]] = []
        self._ready: list[tuple[int, int]] = []
        self._far: list[tuple[int, int, int]] = []

    def expect(self, place: int) -> None:
        """A command will come; these come in the order of their places."""
        self._places.append(place)

    def add(self, cycle: int, place: int, job: int) -> None:
        """A command of which it is known now from which cycle on it may start."""
        if place <= self._limit():
            heapq.heappush(self._waiting, (cycle, place, job))
        else:
            heapq.heappush(self._far, (place, cycle, job))

    def next_start(self) -> int | None:
        """When the engine starts its next command, of those that are known to become ready."""
        if self._ready:
            return self.free_cycle
        return max(self.free_cycle, self._waiting[0][0]) if self._waiting else None

    def take(self, now: int) -> int:
        """The job to start in cycle `now`."""
        while self._waiting and self._waiting[0][0] <= now:
            _, place, job = heapq.heappop(self._waiting)
            heapq.heappush(self._ready, (place, job))
        place, job = heapq.heappop(self._ready)
        self._done.add(place)
        while self._first < len(self._places) and self._places[self._first] in self._done:
            self._done.discard(self._places[self._first])
            self._first += 1
        while self._far and self._far[0][0] <= self._limit():
            self._near()
        return job

    def let_pass(self) -> bool:
        """Let the first of the far ones pass whatever is before it; False if there is none."""
        if self._far:
            self._near()
            return True
        return False

    def _near(self) -> None:
        place, cycle, job = heapq.heappop(self._far)
        heapq.heappush(self._waiting, (cycle, place, job))

    def _limit(self) -> float:
        if self._window is None or self._first == len(self._places):
            return float("inf")
        return self._places[self._first] + self._window


def list_schedule(jobs: Sequence[Job], processor: Processor, window: int | None = None) -> Schedule:
    """An order of the jobs, and how long it takes by this estimate.

    window: how many places further back a command may be that passes one that waits; None for any.
    """
    followers: list[list[int]] = [[] for _ in jobs]
    missing = [len(job.after) for job in jobs]
    queues = {job.queue: _Queue(window) for job in jobs}
    for number, job in enumerate(jobs):
        for other in job.after:
            followers[other].append(number)
        queues[job.queue].expect(job.place)
    for number, job in enumerate(jobs):
        if not missing[number]:
            queues[job.queue].add(0, job.place, number)
    earliest = [0] * len(jobs)
    bus_cycle = last_cycle = 0
    order: list[int] = []
    while len(order) < len(jobs):
        # The first of equals: in the order of the queues, so that a run is always the same.
        best, now = None, 0
        for queue in queues.values():
            start = queue.next_start()
            if start is not None and (best is None or start < now):
                best, now = queue, start
        if best is None:
            if any(queue.let_pass() for queue in queues.values()):
                continue
            raise ContractError("the commands of the cores wait for each other")
        number = best.take(now)
        price = command_price(jobs[number].command, processor)
        end = now + price.cycles
        if price.transfer_bytes:
            moving = transfer_cycles(price.transfer_bytes, processor)
            bus_cycle = end = max(end - moving, bus_cycle) + moving
        best.free_cycle = end
        last_cycle = max(last_cycle, end)
        order.append(number)
        for follower in followers[number]:
            earliest[follower] = max(earliest[follower], end)
            missing[follower] -= 1
            if not missing[follower]:
                job = jobs[follower]
                queues[job.queue].add(earliest[follower], job.place, follower)
    return Schedule(tuple(order), last_cycle)
