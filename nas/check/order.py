"""A parallel program -> which step ends before which other one starts, whatever the speed of the engines.

A step of queue q at position i ends before a step b starts if and only if i < clocks[b, q]: a vector clock (C. Fidge,
"Timestamps in message-passing systems that preserve the partial ordering", 1988; F. Mattern, "Virtual time and global
states of distributed systems", 1989). Steps are numbered queue by queue.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.ir.par_program import Step


@dataclass(frozen=True)
class Steps:
    """All steps of a program, numbered queue by queue."""

    names: tuple[str, ...]
    steps: tuple[Step, ...]
    queue: tuple[int, ...]
    position: tuple[int, ...]
    first: tuple[int, ...]  # the number of each queue's first step, and one past the last step of all

    def name(self, number: int) -> str:
        return f"{self.names[self.queue[number]]}[{self.position[number]}] ({self.steps[number].command.layer})"


def steps_of(queues: dict[str, tuple[Step, ...]]) -> Steps:
    """Number the steps of `queues`."""
    steps = [step for queue in queues.values() for step in queue]
    lengths = [len(queue) for queue in queues.values()]
    return Steps(
        names=tuple(queues),
        steps=tuple(steps),
        queue=tuple(number for number, length in enumerate(lengths) for _ in range(length)),
        position=tuple(position for length in lengths for position in range(length)),
        first=(0, *np.cumsum(lengths, dtype=np.int64).tolist()),
    )


@dataclass(frozen=True)
class Order:
    """The happens-before order of steps whose every token has one sender and one receiver.

    legal: all steps in a legal order, of all such orders the one nearest to the priorities. Shorter than the steps if
    the program deadlocks. clocks: (steps, queues); the rows of steps that never start stay 0.
    """

    steps: Steps
    legal: tuple[int, ...]
    clocks: NDArray[np.int64]

    def is_before(self, a: int, b: int) -> bool:
        """Whether step a ends before step b starts in every legal order."""
        return bool(self.steps.position[a] < self.clocks[b, self.steps.queue[a]])


def order_of(steps: Steps, priorities: Sequence[int] | None = None) -> Order:
    """Happens-before by queues and tokens. `priorities`: of two steps that may run, the lower one comes first."""
    sender = {token: number for number, step in enumerate(steps.steps) for token in step.signals}
    receiver = {token: number for number, step in enumerate(steps.steps) for token in step.waits}
    rank: Sequence[int] = range(len(steps.steps)) if priorities is None else priorities
    missing = [len(step.waits) + (position > 0) for step, position in zip(steps.steps, steps.position, strict=True)]
    ready = [(rank[number], number) for number, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    clocks: list[list[int]] = [[0] * len(steps.names)] * len(steps.steps)
    legal: list[int] = []
    while ready:
        _, number = heapq.heappop(ready)
        legal.append(number)
        step, queue, position = steps.steps[number], steps.queue[number], steps.position[number]
        clock = clocks[number - 1].copy() if position else [0] * len(steps.names)
        for token in step.waits:
            source = sender[token]
            clock = [mine if mine > theirs else theirs for mine, theirs in zip(clock, clocks[source], strict=True)]
            from_queue, passed = steps.queue[source], steps.position[source] + 1
            clock[from_queue] = max(clock[from_queue], passed)
        clock[queue] = position
        clocks[number] = clock
        followers = [receiver[token] for token in step.signals]
        if number + 1 < steps.first[queue + 1]:
            followers.append(number + 1)
        for follower in followers:
            missing[follower] -= 1
            if missing[follower] == 0:
                heapq.heappush(ready, (rank[follower], follower))
    shape = (len(steps.steps), len(steps.names))
    return Order(steps, tuple(legal), np.array(clocks, np.int64).reshape(shape))


def cycle_of(order: Order) -> tuple[int, ...]:
    """Steps of a program that deadlocks, each of which waits for the end of the next, the last for the first."""
    steps, done = order.steps, set(order.legal)
    sender = {token: number for number, step in enumerate(steps.steps) for token in step.signals}
    current = next(number for number in range(len(steps.steps)) if number not in done)
    path: list[int] = []
    met: dict[int, int] = {}
    while current not in met:
        met[current] = len(path)
        path.append(current)
        step = steps.steps[current]
        before = [sender[token] for token in step.waits]
        if steps.position[current]:
            before.append(current - 1)
        current = next(number for number in before if number not in done)
    return tuple(path[met[current] :])
