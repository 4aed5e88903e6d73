"""A trace -> the same without the calls whose results nobody reads: the place of a maximum whose value alone is wanted."""

from dataclasses import replace

from nas.compiler.front_end.trace import TracedForward


def needed(forward: TracedForward) -> TracedForward:
    """The same outputs."""
    read = {value.index for value in forward.outputs}
    kept = []
    for call in reversed(forward.calls):
        if any(value.index in read for value in call.outputs):
            read.update(value.index for value in call.read)
            kept.append(call)
    return replace(forward, calls=tuple(reversed(kept)))
