"""Buffers and a capacity -> addresses, by a search that finds every packing if it is given the time.

Dynamic storage allocation as rectangles of fixed times: any packing can be pushed down until each buffer lies on another or
on the ground, and can then be built in the order of addresses, each buffer at the lowest address that those below it leave.
So the search branches over which buffer comes next, never over addresses; of buffers at one address, in the order of their
ranks. A branch ends

- where the bytes still to come at some time do not fit above the lowest address that any of them may have,
- where a buffer is left out that would have fitted below the next one: the same packing is found by taking it first.

These are known ideas (M. D. Moffitt, MiniMalloc, ASPLOS 2024). Ours are dives of a few nodes from several orders of buffers,
with noise: what fits is mostly found soon or late, and seldom in between. That problems fall apart once the buffers that
join two times are placed is left out: it changed nothing in what was found.

`nodes` bounds the work, so the answer does not depend on how fast a machine is.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.signedinteger]

# What is hard to place comes first; opinions of what that is: the weights of the logarithms of the most bytes that live
# beside a buffer at one time, of its own bytes, and of its time.
_HARD = ((20, 1, 1), (0, 1, 1), (20, 0, 1), (0, 0, 1))
_NOISE = 0.2  # of the logarithm of hardness, in every round of dives but the first
DIVE = 8  # placements of a dive of the first round, for each buffer
_LONGER = 1.2  # times as many in each further round


def pack(first: Ints, last: Ints, size: Ints, capacity: int, nodes: int, dive: float = DIVE) -> Ints | None:
    """Addresses, shape (buffers,), of buffers that live from `first` to `last`, both inclusive; sizes in the unit of `capacity`.

    None where there is no packing, or none was found within `nodes` placements, and at least one round of dives, each of `dive`
    placements for every buffer in the first.
    """
    offset = np.zeros(len(size), np.int64)
    for part in parts(first, last):
        found = _packed(first[part], last[part], size[part], capacity, nodes, dive)
        if found is None:
            return None
        offset[part] = found
    return offset


def parts(first: Ints, last: Ints) -> Iterator[Ints]:
    """The indices of the buffers between moments that no buffer lives across."""
    if not len(first):
        return
    order = np.argsort(first, kind="stable")
    ends = np.maximum.accumulate(last[order])
    yield from np.split(order, np.flatnonzero(first[order][1:] > ends[:-1]) + 1)


def columns(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """The same lives, half-open, counted in moments at which one begins: who meets whom does not depend on the time between."""
    moments = np.unique(first)
    return np.searchsorted(moments, first), np.searchsorted(moments, last, side="right")


def _packed(first: Ints, last: Ints, size: Ints, capacity: int, nodes: int, dive: float) -> Ints | None:
    """Buffers that meet, directly or through others: dives in many orders."""
    begin, end = columns(first, last)
    unit = int(np.gcd.reduce(size))
    size, capacity = size // unit, capacity // unit
    column = np.arange(begin.max() + 1)
    covers = (begin[:, None] <= column) & (column < end[:, None])
    total = size @ covers.astype(np.int64)
    if (total > capacity).any():
        return None
    # Fewer bytes to look through at every step.
    kind = np.int32 if capacity < 1 << 30 else np.int64
    outside: Ints = np.where(covers, 0, capacity + 1).astype(kind)
    room: Ints = (capacity - total).astype(kind)
    size = size.astype(kind)
    pressure = np.array([total[since:until].max() for since, until in zip(begin, end, strict=True)])
    traits = np.log(np.stack([pressure, size, last - first + 1]) + 1.0)
    generator = np.random.default_rng(0)
    dive, noise, spent = dive * len(size), 0.0, 0
    while spent < nodes:
        for weights in _HARD:
            hardness = np.array(weights) @ traits + generator.normal(0, noise, len(size))
            order = np.argsort(-hardness, kind="stable")
            search = _Search(begin[order], end[order], size[order], outside[order], room, capacity)
            answer = search.run(int(dive))
            if answer is False:
                return None
            if answer:
                offset = np.zeros(len(size), np.int64)
                offset[order] = search.offset
                return offset * unit
            spent += int(dive)
        dive, noise = dive * _LONGER, _NOISE
    return None


class _State(NamedTuple):
    """What is still to be placed.

    waiting: numbers of buffers, ascending; lowest: of every number the lowest address that those below it leave; room: in every
    column what the bytes to come there leave of the capacity; address, number: of the buffer placed last.
    """

    waiting: Ints
    lowest: Ints
    room: Ints
    address: int
    number: int


class _Search:
    """Numbers are ranks: of what is as low, the lower number is tried first.

    begin, end: columns; outside: of every number and column 0 while the buffer lives, and beyond the capacity while it doesn't;
    room: see `_State`.
    """

    def __init__(self, begin: Ints, end: Ints, size: Ints, outside: Ints, room: Ints, capacity: int) -> None:
        self._begin, self._end, self._size = begin, end, size
        self._outside, self._room, self._capacity = outside, room, capacity
        self.offset = np.zeros(len(size), np.int64)

    def run(self, nodes: int) -> bool | None:
        """Depth first. Whether there is a packing, which is in `offset` then; None where the nodes did not suffice."""
        count = len(self._size)
        start = _State(np.arange(count), np.zeros_like(self._size), self._room, -1, -1)
        steps = [(start, self._choices(start))]
        while steps:
            state, choices = steps[-1]
            number, address = next(choices, (-1, 0))
            if number < 0:
                steps.pop()
                continue
            nodes -= 1
            if nodes < 0:
                return None
            self.offset[number] = address
            if len(steps) == count:
                return True
            after = self._after(state, number, address)
            steps.append((after, self._choices(after)))
        return False

    def _after(self, state: _State, number: int, address: int) -> _State:
        """What is left once `number` is placed."""
        waiting = state.waiting[state.waiting != number]
        begin, end, top = self._begin[number], self._end[number], address + self._size[number]
        meets = waiting[(self._begin[waiting] < end) & (self._end[waiting] > begin)]
        lowest, room = state.lowest.copy(), state.room.copy()
        lowest[meets] = np.maximum(lowest[meets], top)
        room[begin:end] += self._size[number]
        return _State(waiting, lowest, room, address, number)

    def _choices(self, state: _State) -> Iterator[tuple[int, int]]:
        """The buffers that may come next with their addresses, the most promising first."""
        waiting, lowest, size = state.waiting, state.lowest[state.waiting], self._size[state.waiting]
        # Addresses rise, and where nothing lies below it a buffer would fall.
        reach = np.maximum(lowest, state.address)
        floor = np.maximum(self._outside[waiting], reach[:, None]).min(axis=0)
        asked = floor <= self._capacity  # columns where something is still to come
        if (reach + size).max() > self._capacity or (floor > state.room)[asked].any():
            return
        high = min(int((lowest + size).min()), int(state.room[asked].min()) + 1)
        places = np.flatnonzero((lowest >= state.address) & (lowest < high))
        places = places[np.argsort(lowest[places], kind="stable")]
        seen = set()
        for number, address in zip(waiting[places].tolist(), lowest[places].tolist(), strict=True):
            like = int(self._begin[number]), int(self._end[number]), int(self._size[number])
            in_turn = address > state.address or number > state.number
            if in_turn and like not in seen:  # of equal buffers the first stands for all
                seen.add(like)
                yield number, address
