"""Sync: the tokens that keep every dependence, and no more.

A dependence needs no token if it follows from the order of a queue and the tokens that are there already. What each
command knows to be done is a vector clock: for every queue the number of steps that have ended before it starts.
"""

from collections.abc import Sequence


def tokens_for(queues: dict[str, list[int]], dependences: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The (signalling command, waiting command) pairs that remain, in the order of the waiting commands.

    Commands are known by their place in the sequential program, which is one order that respects all dependences.
    """
    names = list(queues)
    queue_of: dict[int, int] = {}
    place_of: dict[int, int] = {}
    for number, name in enumerate(names):
        for place, command in enumerate(queues[name]):
            queue_of[command], place_of[command] = number, place
    done_after: dict[int, list[int]] = {}
    last_in_queue: list[int | None] = [None] * len(names)
    pairs: list[tuple[int, int]] = []
    for command in range(len(dependences)):
        own = queue_of[command]
        before = last_in_queue[own]
        known = list(done_after[before]) if before is not None else [0] * len(names)
        # The newest first: what an older one would have told is often known by then.
        for other in sorted(dependences[command], reverse=True):
            if place_of[other] < known[queue_of[other]]:
                continue
            pairs.append((other, command))
            told = done_after[other]
            known = [mine if mine > theirs else theirs for mine, theirs in zip(known, told, strict=True)]
        after = list(known)
        after[own] = place_of[command] + 1
        done_after[command] = after
        last_in_queue[own] = command
    return pairs
