"""Which commands of a sequential program have to stay in order, from the regions that they touch.

Command b depends on an earlier command a if they touch the same bytes and at least one of them writes. Regions of one
tensor are compared box by box, any others by the bytes between their ends; that can find a dependence too many, never one
too few.
"""

from collections.abc import Sequence

from nas.ir.command import Command
from nas.ir.history import Access, History, Latest
from nas.ir.overlap import extent, merged_spans, spans_meet
from nas.ir.tensor import Region


def dependences(commands: Sequence[Command], queue_of: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """For each command the earlier commands that it must follow, ascending; what follows from others may be left out.

    queue_of: the queue of each command, where those of one queue run in order: only the last of each has to be told then.
    """
    written = _written_spans(commands)
    histories = {memory: History() for memory in written}
    result: list[tuple[int, ...]] = []
    for index, command in enumerate(commands):
        found: Latest = {}
        queue = index if queue_of is None else queue_of[index]
        for regions, is_write in ((command.reads, False), (command.writes, True)):
            for region in regions:
                size_bytes, dense = extent(region.shape, region.strides, region.bits)
                start, stop = region.offset_bytes, region.offset_bytes + size_bytes
                # What nobody writes has no order.
                if is_write or spans_meet(written.get(region.memory, []), start, stop):
                    access = Access(index, queue, is_write, start, stop, region, dense)
                    histories[region.memory].follow(access, found)
        result.append(tuple(sorted(other for other in found.values() if other != index)))
    return result


def _written_spans(commands: Sequence[Command]) -> dict[str, list[tuple[int, int]]]:
    """The spans of bytes of each memory that any command writes."""
    regions: dict[str, list[Region]] = {}
    for command in commands:
        for region in command.writes:
            regions.setdefault(region.memory, []).append(region)
    return {memory: merged_spans(listed) for memory, listed in regions.items()}
