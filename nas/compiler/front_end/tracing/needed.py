"""Who reads what in a trace; and the trace without the calls whose results nobody reads: the place of a maximum, whose value is wanted."""

from collections.abc import Iterable
from dataclasses import replace

from nas.compiler.front_end.tracing.calls import Call, TracedForward


def needed(forward: TracedForward) -> TracedForward:
    """The same outputs."""
    read = {value.index for value in forward.outputs}
    kept = []
    for call in reversed(forward.calls):
        if any(value.index in read for value in call.outputs):
            read.update(value.index for value in call.read)
            kept.append(call)
    return replace(forward, calls=tuple(reversed(kept)))


def readers_of(calls: Iterable[Call]) -> dict[int, list[Call]]:
    """For every value that is read, by its number, the calls that read it, in order."""
    readers: dict[int, list[Call]] = {}
    for call in calls:
        for value in call.read:
            readers.setdefault(value.index, []).append(call)
    return readers
