"""List scheduling: the commands of all cores, with what each must follow -> one order, and with it that of every queue.

Time is simulated roughly: each engine does one command after the other, each takes as long as alone on the processor, and
the bytes of all transfers go through the dram one transfer after the other. An engine that is free takes, of all commands
that may start, the one that comes first in its core's own program; if none may, it waits for the first that can. So a
transfer that waits for another core lets those behind it pass (R. Graham, "Bounds on multiprocessing timing anomalies",
1969, for what such schedules are worth).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass
class _Queue:
    """free_cycle: when the engine is free. waiting: (cycle from which it may start, place, job); ready: (place, job)."""

    free_cycle: int = 0
    waiting: list[tuple[int, int, int]] = field(default_factory=list)
    ready: list[tuple[int, int]] = field(default_factory=list)

    def next_start(self) -> int | None:
        """When the engine starts its next command, of those that are known to become ready."""
        if self.ready:
            return self.free_cycle
        return max(self.free_cycle, self.waiting[0][0]) if self.waiting else None

    def take(self, now: int) -> int:
        """The job to start in cycle `now`."""
        while self.waiting and self.waiting[0][0] <= now:
            _, place, job = heapq.heappop(self.waiting)
            heapq.heappush(self.ready, (place, job))
        return heapq.heappop(self.ready)[1]


def list_schedule(jobs: Sequence[Job], processor: Processor) -> list[int]:
    """The numbers of the jobs in the order in which they start; each comes behind all that it must follow."""
    followers: list[list[int]] = [[] for _ in jobs]
    missing = [len(job.after) for job in jobs]
    for number, job in enumerate(jobs):
        for other in job.after:
            followers[other].append(number)
    queues: dict[str, _Queue] = {}
    for number, job in enumerate(jobs):
        queue = queues.setdefault(job.queue, _Queue())
        if not missing[number]:
            heapq.heappush(queue.ready, (job.place, number))
    earliest = [0] * len(jobs)
    bus_cycle = 0
    order: list[int] = []
    while len(order) < len(jobs):
        # The first of equals: in the order of the queues, so that a run is always the same.
        best, now = None, 0
        for queue in queues.values():
            start = queue.next_start()
            if start is not None and (best is None or start < now):
                best, now = queue, start
        if best is None:
            raise ContractError("the commands of the cores wait for each other")
        number = best.take(now)
        price = command_price(jobs[number].command, processor)
        end = now + price.cycles
        if price.transfer_bytes:
            moving = transfer_cycles(price.transfer_bytes, processor)
            bus_cycle = end = max(end - moving, bus_cycle) + moving
        best.free_cycle = end
        order.append(number)
        for follower in followers[number]:
            earliest[follower] = max(earliest[follower], end)
            missing[follower] -= 1
            if not missing[follower]:
                job = jobs[follower]
                heapq.heappush(queues[job.queue].waiting, (earliest[follower], job.place, follower))
    return order
