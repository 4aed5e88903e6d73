"""Which commands of a sequential program have to stay in order, from the regions that they touch.

Command b depends on an earlier command a if they touch the same bytes and at least one of them writes. Regions of one
tensor are compared box by box, any others by the bytes between their ends; that can find a dependence too many, never one
too few.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from nas.ir.command import Command
from nas.ir.tensor import Region


class _Access:
    """One access that later commands may depend on."""

    __slots__ = ("command", "region", "start", "stop", "writes")

    def __init__(self, command: int, region: Region, start: int, stop: int, writes: bool) -> None:
        self.command, self.region, self.start, self.stop, self.writes = command, region, start, stop, writes


def dependences(commands: Sequence[Command]) -> list[tuple[int, ...]]:
    """For each command the earlier commands that it must follow, ascending; what follows from others may be left out."""
    written = _written_spans(commands)
    memories: dict[str, list[_Access]] = {}
    result: list[tuple[int, ...]] = []
    for index, command in enumerate(commands):
        found: set[int] = set()
        fresh: list[tuple[str, _Access]] = []
        for regions, writes in ((command.reads, False), (command.writes, True)):
            for region in regions:
                start, stop = region.offset_bytes, region.end_bytes
                if not spans_meet(written.get(region.memory, []), start, stop):
                    continue
                access = _Access(index, region, start, stop, writes)
                fresh.append((region.memory, access))
                for other in memories.get(region.memory, ()):
                    if (
                        other.start < stop
                        and start < other.stop
                        and (writes or other.writes)
                        and regions_meet(other.region, region)
                    ):
                        found.add(other.command)
        for memory, access in fresh:
            held = memories.setdefault(memory, [])
            if access.writes and _is_dense(access.region):
                # Whoever meets one of these later meets this write as well, and this write follows them already.
                held[:] = [other for other in held if not (access.start <= other.start and other.stop <= access.stop)]
            held.append(access)
        found.discard(index)
        result.append(tuple(sorted(found)))
    return result


def regions_meet(a: Region, b: Region) -> bool:
    """Whether two regions of one memory may share a byte, given that their spans of bytes overlap."""
    if a.strides != b.strides or a.bits != b.bits or len(a.shape) != len(b.shape):
        return True
    shift_bits = (b.offset_bytes - a.offset_bytes) * 8
    if shift_bits % a.bits:
        return True
    shift = shift_bits // a.bits
    # On a common grid the boxes are compared axis by axis. That needs strides that nest, as those of one tensor do, and a
    # shift along each inner axis that stays within a step of the axis around it: else the same shift has other names.
    apart = False
    for size_a, size_b, stride, outer in zip(a.shape, b.shape, a.strides, (0, *a.strides[:-1]), strict=True):
        if stride == 0 or (outer and outer % stride):
            return True
        steps, shift = _nearest(shift, stride)
        if outer and (max(size_a, size_b) + abs(steps)) * stride > outer:
            return True
        apart = apart or steps >= size_a or -steps >= size_b
    return not apart and (shift == 0 or a.bits < 8)


def _nearest(shift: int, stride: int) -> tuple[int, int]:
    """shift as whole steps of `stride` and a rest of the smallest size."""
    steps = shift // stride
    rest = shift - steps * stride
    if rest * 2 > stride:
        steps, rest = steps + 1, rest - stride
    return steps, rest


def _is_dense(region: Region) -> bool:
    """Whether the region covers every byte between its ends."""
    expected = 1
    for size, stride in zip(reversed(region.shape), reversed(region.strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _written_spans(commands: Sequence[Command]) -> dict[str, list[tuple[int, int]]]:
    """The spans of bytes of each memory that any command writes."""
    regions: dict[str, list[Region]] = {}
    for command in commands:
        for region in command.writes:
            regions.setdefault(region.memory, []).append(region)
    return {memory: merged_spans(listed) for memory, listed in regions.items()}


def merged_spans(regions: Iterable[Region]) -> list[tuple[int, int]]:
    """The bytes between the ends of each region, merged and sorted: half-open spans that do not touch."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted((region.offset_bytes, region.end_bytes) for region in regions):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def spans_meet(spans: list[tuple[int, int]], start: int, stop: int) -> bool:
    """Whether any of the merged `spans` holds a byte of start..stop."""
    place = bisect_left(spans, (start, start))
    if place < len(spans) and spans[place][0] < stop:
        return True
    return place > 0 and spans[place - 1][1] > start
