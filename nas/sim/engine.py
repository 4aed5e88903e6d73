"""The clock of the simulators: events in the order of (cycle, priority, sequence), so that a run is always the same.

Priority orders what happens in the same cycle (ends before starts); sequence keeps the order of scheduling beyond that.
After SimPy's core, without its processes: events are plain values that the simulator knows how to read.
"""

import heapq
from typing import Generic, TypeVar

from nas.core.errors import ContractError

Event = TypeVar("Event")


class Clock(Generic[Event]):
    """The present cycle and what is still to happen."""

    def __init__(self) -> None:
        self.now = 0
        self._sequence = 0
        self._events: list[tuple[int, int, int, Event]] = []

    def schedule(self, cycle: int, priority: int, event: Event) -> None:
        """Let `event` happen in `cycle`, which is not in the past."""
        if cycle < self.now:
            raise ContractError(f"an event is scheduled for cycle {cycle}, it is cycle {self.now}")
        self._sequence += 1
        heapq.heappush(self._events, (cycle, priority, self._sequence, event))

    def next(self) -> Event | None:
        """Move on to the next event and return it; None when nothing happens any more."""
        if not self._events:
            return None
        self.now, _, _, event = heapq.heappop(self._events)
        return event
