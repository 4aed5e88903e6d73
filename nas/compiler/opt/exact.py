"""Buffers and a capacity -> addresses, by a search that finds every packing if it is given the time.

Dynamic storage allocation as rectangles of fixed times: any packing can be pushed down until each buffer lies on another or
on the ground, and can then be built in the order of addresses, each buffer at the lowest address that the skyline over its
life leaves. So the search branches over which buffer comes next, never over addresses. A branch ends where at some time the
bytes still to come do not fit between the present address and the capacity, or where a buffer is left out
that would have fitted below the present one (the same packing is found by taking it first). Times between two events
are one column; buffers that never meet, directly or through others, are separate problems.

`nodes` bounds the work, so the answer does not depend on how fast a machine is.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_NOISE = 0.2  # of the logarithm of hardness, in every dive but the first four


def pack(first: Ints, last: Ints, size: Ints, capacity: int, nodes: int) -> Ints | None:
    """Addresses, shape (buffers,), of buffers that live from `first` to `last`, both inclusive; sizes in the unit of `capacity`.

    None where there is no packing, or none was found within `nodes` placements.
    """
    offset = np.zeros(len(size), np.int64)
    for part in parts(first, last):
        found = _Search(first[part], last[part], size[part], capacity).run(nodes)
        if found is None:
            return None
        offset[part] = found
    return offset


def parts(first: Ints, last: Ints) -> Iterator[Ints]:
    """The indices of the buffers between moments that no buffer lives across."""
    order = np.argsort(first, kind="stable")
    begins, end = 0, -1
    for place, buffer in enumerate(order):
        if place > begins and first[buffer] > end:
            yield order[begins:place]
            begins = place
        end = max(end, int(last[buffer]))
    if len(order):
        yield order[begins:]


class _Search:
    def __init__(self, first: Ints, last: Ints, size: Ints, capacity: int) -> None:
        starts = np.unique(first)
        column = np.arange(len(starts))
        begin = np.searchsorted(starts, first)
        end = np.searchsorted(starts, last, side="right")
        self._covers = (begin[:, None] <= column) & (column < end[:, None])  # (buffers, columns)
        self._meets = (first[:, None] <= last) & (last[:, None] >= first)
        self._size, self._capacity = size, capacity
        total = self._covers.T @ size
        pressure = np.array([total[covered].max() for covered in self._covers])
        length = end - begin
        self._total = total
        # What is hard to place comes first; opinions of what that is, one after the other.
        self._hardness = tuple(np.log(keys + 1.0) for keys in (pressure * length, size * length, size, length))

    def run(self, nodes: int) -> Ints | None:
        if (self._total > self._capacity).any():
            return None
        generator = np.random.default_rng(0)
        spent, dive, repeats = 0, 16 * len(self._size), False
        while spent < nodes:
            for hardness in self._hardness:
                noise = generator.normal(0, _NOISE, len(hardness)) if repeats else 0.0
                rank = np.argsort(np.argsort(-(hardness + noise), kind="stable"))
                found, proven = self._descend(rank, dive)
                if found is not None or proven:
                    return found
                spent += dive
            dive, repeats = dive * 5 // 4, True
        return None

    def _descend(self, rank: Ints, nodes: int) -> tuple[Ints | None, bool]:
        """Depth first, in the order of `rank`. Returns the addresses, and whether the answer is final."""
        count = len(self._size)
        offset = np.zeros(count, np.int64)  # of a placed buffer its address, of another the lowest that it may have
        left = np.ones(count, bool)
        to_come, skyline = self._total.copy(), np.zeros_like(self._total)
        stack = [(iter(self._choices(offset, left, to_come, skyline, rank)), -1, offset, skyline)]
        while stack:
            choices, placed, before, skyline_before = stack[-1]
            buffer = next(choices, None)
            if buffer is None:
                stack.pop()
                if placed >= 0:
                    left[placed] = True
                    to_come += self._size[placed] * self._covers[placed]
                    offset, skyline = before, skyline_before
                continue
            nodes -= 1
            if nodes < 0:
                return None, False
            left[buffer] = False
            to_come -= self._size[buffer] * self._covers[buffer]
            top = int(offset[buffer] + self._size[buffer])
            stack_entry = (offset, skyline)
            offset = np.maximum(offset, np.where(self._meets[buffer] & left, top, 0))
            if not left.any():
                return offset, True
            skyline = np.where(self._covers[buffer], top, skyline)
            stack.append((iter(self._choices(offset, left, to_come, skyline, rank)), buffer, *stack_entry))
        return None, True

    def _choices(self, offset: Ints, left: NDArray[np.bool_], to_come: Ints, skyline: Ints, rank: Ints) -> list[int]:
        """The buffers that may come next, the most promising first."""
        waiting = np.flatnonzero(left)
        lowest, tops = offset[waiting], offset[waiting] + self._size[waiting]
        if (tops > self._capacity).any():
            return []
        waiting = waiting[lowest < tops.min()]
        # Addresses rise along a branch: below that of the next buffer nothing more is placed, at any time.
        floor = np.maximum(offset[waiting, None], skyline)
        room = (floor + to_come <= self._capacity) | (to_come == 0)
        waiting = waiting[room.all(axis=1)]
        keys = np.lexsort((rank[waiting], offset[waiting]))
        chosen, seen = [], set()
        for buffer in waiting[keys].tolist():
            like = (self._covers[buffer].tobytes(), int(self._size[buffer]))
            if like not in seen:  # of equal buffers the first stands for all
                seen.add(like)
                chosen.append(buffer)
        return chosen
