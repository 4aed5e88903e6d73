"""Pairs of accesses that conflict: to a common byte, at least one of them a write, in an order that is wrong or left open.

Only few pairs of steps are unordered in a program of any use, and those of step b and queue q are an unbroken stretch of
q, since clocks only grow along a queue. So the stretches are found by bisection, all pairs in them are compared by their
byte intervals at once in numpy, and only what is left is compared exactly.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nas.check.accesses import Accesses, Integers
from nas.check.memory import overlap
from nas.check.order import Order

# Pairs that are compared at once: bounds the memory of the check, whatever the program.
_CHUNK_PAIRS = 1 << 20


def races(order: Order, accesses: Accesses) -> Iterator[tuple[int, int]]:
    """Pairs of entries of `accesses` (whose commands are the steps) that conflict and have no order."""
    queues = np.array(order.steps.queue, np.int64)
    positions = np.array(order.steps.position, np.int64)
    groups = [np.flatnonzero(queues[accesses.commands] == queue) for queue in range(len(order.steps.names))]
    for queue, mine in enumerate(groups):
        my_steps = accesses.commands[mine]
        for other in range(queue + 1, len(groups)):
            theirs = groups[other]
            if not len(mine) or not len(theirs):
                continue
            their_steps = accesses.commands[theirs]
            # Ordered before my step: positions below its clock. After it: their clock has passed my position.
            first = np.searchsorted(positions[their_steps], order.clocks[my_steps, other], side="left")
            stop = np.searchsorted(order.clocks[their_steps, queue], positions[my_steps], side="right")
            for a, b in _pairs(mine, theirs, first, stop):
                yield from _conflicts(accesses, a, b)


def inversions(legal: tuple[int, ...], ranks: Integers, accesses: Accesses) -> Iterator[tuple[int, int]]:
    """Pairs of entries that conflict and whose steps come in `legal` the other way round than by `ranks`."""
    turns = np.empty(len(legal), np.int64)
    turns[np.array(legal, np.int64)] = np.arange(len(legal))
    entries = np.argsort(turns[accesses.commands], kind="stable")
    rank = ranks[accesses.commands[entries]]
    if not len(rank) or bool((np.diff(rank) >= 0).all()):
        return
    # The last entry of a lower rank than each one's: behind it no inversion with that one is left.
    by_rank = np.argsort(rank, kind="stable")
    furthest = np.maximum.accumulate(by_rank)
    below = np.searchsorted(rank[by_rank], rank, side="left")
    stop = np.where(below > 0, furthest[below - 1] + 1, 0)
    here = np.arange(len(rank), dtype=np.int64)
    for a, b in _pairs(here, here, here + 1, stop):
        swapped = rank[b] < rank[a]
        yield from _conflicts(accesses, entries[a[swapped]], entries[b[swapped]])


def within_commands(accesses: Accesses) -> Iterator[tuple[int, int]]:
    """Pairs of entries that conflict within one command: what it writes, and what of its entries stands before that."""
    writes, here = np.flatnonzero(accesses.writes), np.arange(len(accesses.commands), dtype=np.int64)
    first = np.searchsorted(accesses.commands, accesses.commands[writes], side="left")
    for a, b in _pairs(writes, here, first, writes):
        yield from _conflicts(accesses, a, b)


def _pairs(mine: Integers, theirs: Integers, first: Integers, stop: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Each of `mine` with its stretch first:stop of `theirs`, in chunks."""
    lengths = np.maximum(stop - first, 0)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, _CHUNK_PAIRS):
        number = np.arange(start, min(start + _CHUNK_PAIRS, total), dtype=np.int64)
        row = np.searchsorted(ends, number, side="right")
        yield mine[row], theirs[first[row] + number - (ends[row] - lengths[row])]


def _conflicts(accesses: Accesses, a: Integers, b: Integers) -> Iterator[tuple[int, int]]:
    near: NDArray[np.bool_] = accesses.writes[a] | accesses.writes[b]
    near &= accesses.memories[a] == accesses.memories[b]
    near &= (accesses.starts[a] < accesses.ends[b]) & (accesses.starts[b] < accesses.ends[a])
    for one, other in zip(a[near].tolist(), b[near].tolist(), strict=True):
        if overlap(accesses.region[one], accesses.region[other]):
            yield one, other
