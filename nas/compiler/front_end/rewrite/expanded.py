"""A trace in which a tensor is spread over the places of another before the two are combined -> the same without that.

`x * gate.expand_as(x)` is `x * gate`: engines spread what has one place along an axis by themselves.
"""

from dataclasses import replace
from typing import Any

from nas.compiler.front_end.lowerings.arithmetic import LOWERINGS
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, TracedForward, Value
from nas.compiler.front_end.tracing.needed import readers_of

_EXPANDS = frozenset(torch_functions("Tensor.expand", "Tensor.expand_as", "broadcast_to", "Tensor.broadcast_to"))


def spread_by_readers(forward: TracedForward) -> TracedForward:
    """The same values, bit for bit."""
    readers = readers_of(forward.calls)
    outputs = {value.index for value in forward.outputs}
    narrow: dict[int, Value] = {}
    for call in forward.calls:
        if call.function not in _EXPANDS or not isinstance(call.arguments[0], Value):
            continue
        value, spread = call.arguments[0], call.outputs[0]
        reads = readers.get(spread.index, [])
        is_whole = spread.index in outputs or value.shape[:1] != spread.shape[:1]
        if not is_whole and len(value.shape) == len(spread.shape) and all(_combines(read, spread) for read in reads):
            narrow[spread.index] = value
    calls = [
        replace(call, arguments=tuple(_narrowed(each, narrow) for each in call.arguments)) for call in forward.calls
    ]
    return replace(forward, calls=tuple(calls)) if narrow else forward


def _combines(call: Call, spread: Value) -> bool:
    """Whether a call combines `spread` with another value that has as many places, element by element."""
    others = [each for each in call.arguments if isinstance(each, Value) and each != spread]
    return call.function in LOWERINGS and len(others) == 1 and others[0].shape == spread.shape


def _narrowed(argument: Any, narrow: dict[int, Value]) -> Any:
    return narrow.get(argument.index, argument) if isinstance(argument, Value) else argument
