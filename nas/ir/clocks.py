"""What every queue of commands knows to be done, so that nobody waits for what has ended anyway: vector clocks.

A command that has to follow another one also follows all that this one has followed, and all before it in its queue
(L. Lamport, "Time, clocks, and the ordering of events", 1978; F. Mattern, "Virtual time and global states", 1989). A clock has the
number of a command for each queue: that one, and those before it in its queue, have ended.
"""

from collections.abc import Iterable, Sequence


class Clocks:
    """queue_of: the queue of each command; those of one queue run in order. Commands are told in their order in the program."""

    def __init__(self, queue_of: Sequence[int]) -> None:
        self._queue_of = queue_of
        count = max(queue_of, default=-1) + 1
        end = len(queue_of)
        self._next, first = [end] * end, [end] * count
        for command in range(end - 1, -1, -1):
            queue = queue_of[command]
            self._next[command], first[queue] = first[queue], command
        self._first = first
        self._known = [[-1] * count for _ in range(count)]
        self._after: list[list[int]] = []

    def known_by(self, queue: int) -> list[int]:
        """The clock before the next command of a queue."""
        return self._known[queue]

    def all_before(self, queue: int) -> int:
        """The first command that the next one of a queue does not know to be done."""
        after = self._next
        return min(
            [
                first if command < 0 else after[command]
                for first, command in zip(self._first, self._known[queue], strict=True)
            ]
        )

    def follow(self, command: int, found: Iterable[int]) -> tuple[int, ...]:
        """Which of the commands `found` the next one has to wait for, ascending: it knows of all others."""
        own = self._queue_of[command]
        known = self._known[own]
        waits = []
        # The newest first: what an older one would tell is often known by then.
        for other in sorted(found, reverse=True):
            queue = self._queue_of[other]
            if queue != own and other > known[queue]:
                waits.append(other)
                known = [
                    mine if mine > theirs else theirs for mine, theirs in zip(known, self._after[other], strict=True)
                ]
        after = list(known)
        after[own] = command
        self._after.append(after)
        self._known[own] = after
        return tuple(reversed(waits))
