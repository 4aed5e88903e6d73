"""What is known of each byte of one memory while a program is swept: whether it was written, and in which format.

Kept in units of some bytes that divide every address and length in question: the memory of a float32 network needs a
quarter of the marks. Where elements are narrower than a byte the unit is a byte. Every region must lie inside the memory.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nas.check.memory import WHOLE_BYTE, bit_lattices, span_bytes
from nas.ir.tensor import Region

# Parts of a memory in which a change makes what is known of its regions out of date.
_STRETCHES = 256


class Written:
    """Which bits have been written so far. Grows only.

    Most of a memory soon lies in stretches of which every bit is known to be written: whoever touches one of these needs no look
    at the marks.
    """

    def __init__(self, size_bytes: int, unit_bytes: int = 1) -> None:
        self._unit_bytes = unit_bytes
        self._marks = np.zeros(size_bytes // unit_bytes + 1, np.uint8)
        self._complete: set[Region] = set()
        # The stretches, which do not touch, in the order of their addresses.
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, region: Region) -> None:
        """`region` is written now."""
        if self._is_known(region):
            return
        for view, mask in _views(self._marks, self._unit_bytes, region):
            view[...] = mask if mask == WHOLE_BYTE else view | mask
        self._know(region)

    def missing(self, region: Region) -> int:
        """How many bytes of `region` were never written, or not all of their bits that belong to it."""
        if self._is_known(region):
            return 0
        views = list(_views(self._marks, self._unit_bytes, region))
        if all(np.bitwise_and.reduce(view, axis=None) & mask == mask for view, mask in views):
            self._know(region)
            return 0
        return sum(int(np.count_nonzero(view & mask != mask)) for view, mask in views) * self._unit_bytes

    def _is_known(self, region: Region) -> bool:
        """Whether `region` is known to be written."""
        place = bisect_right(self._starts, region.offset_bytes) - 1
        if place >= 0:
            end = region.offset_bytes + span_bytes(region.shape, region.strides, region.bits)
            if end <= self._ends[place]:
                return True
        return region in self._complete

    def _know(self, region: Region) -> None:
        """All of `region` is written."""
        (lattice, mask), *more = bit_lattices(region.shape, region.strides, region.bits)
        if more or lattice.axes or mask != WHOLE_BYTE:
            self._complete.add(region)
            return
        start = region.offset_bytes + lattice.start_bytes
        end = start + lattice.run_bytes
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]


class Numbers:
    """The number that was last put on each byte, 0 at first."""

    def __init__(self, size_bytes: int, unit_bytes: int, most: int) -> None:
        self._unit_bytes = unit_bytes
        self._marks = np.zeros(size_bytes // unit_bytes + 1, np.min_scalar_type(most))
        self._facts: dict[Region, _Fact] = {}
        # For each stretch of the memory, when it changed last.
        self._changed = [0] * (_STRETCHES + 1)
        self._stretch_bytes = size_bytes // _STRETCHES + 1
        self._now = 0

    def put(self, region: Region, number: int) -> None:
        """All bytes of `region` have `number` now."""
        fact = self._fact(region)
        if fact.number == number and max(self._changed[fact.first : fact.stop]) <= fact.since:
            return
        for view, _ in _views(self._marks, self._unit_bytes, region):
            view[...] = number
        self._now += 1
        self._changed[fact.first : fact.stop] = [self._now] * (fact.stop - fact.first)
        fact.number, fact.since = number, self._now

    def of(self, region: Region) -> tuple[int, ...]:
        """The numbers on the bytes of `region`, each once."""
        fact = self._fact(region)
        if max(self._changed[fact.first : fact.stop]) <= fact.since:
            return (fact.number,)
        found: set[int] = set()
        for view, _ in _views(self._marks, self._unit_bytes, region):
            low, high = int(np.minimum.reduce(view, axis=None)), int(np.maximum.reduce(view, axis=None))
            found.update((low, high) if high - low < 2 else np.unique(view).tolist())
        if len(found) == 1:
            (fact.number,), fact.since = found, self._now
        return tuple(sorted(found))

    def _fact(self, region: Region) -> "_Fact":
        fact = self._facts.get(region)
        if fact is None:
            last = region.offset_bytes + span_bytes(region.shape, region.strides, region.bits) - 1
            stretches = region.offset_bytes // self._stretch_bytes, last // self._stretch_bytes + 1
            fact = self._facts[region] = _Fact(*stretches)
        return fact


class _Fact:
    """That all of a region had `number`, at the time `since`; the stretches that it lies in, `first` .. `stop` - 1."""

    __slots__ = ("first", "number", "since", "stop")

    def __init__(self, first: int, stop: int) -> None:
        self.first, self.stop = first, stop
        self.number, self.since = 0, -1


def _views(
    marks: NDArray[np.unsignedinteger], unit_bytes: int, region: Region
) -> Iterator[tuple[NDArray[np.unsignedinteger], int]]:
    """The marks of a region, with the bits of each byte that belong to it."""
    width = marks.itemsize
    for lattice, mask in bit_lattices(region.shape, region.strides, region.bits):
        start, run = (region.offset_bytes + lattice.start_bytes) // unit_bytes, lattice.run_bytes // unit_bytes
        if not lattice.axes:
            yield marks[start : start + run], mask
            continue
        shape = (*(size for _, size in lattice.axes), run)
        strides = (*(stride // unit_bytes * width for stride, _ in lattice.axes), width)
        yield np.ndarray(shape, marks.dtype, marks.data, start * width, strides), mask
