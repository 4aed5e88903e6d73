"""The calls of a trace -> a `Network`: each torch function becomes an operator that some engine knows, or a host operator.

LOWERINGS is the table of what the engines know. A lowering may decline a call (an option that no engine has) by returning
False; then the call goes to the host like every unknown function: slow, but it works.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nas.compiler.front_end.lowerings import (
    arithmetic,
    layers,
    normalise,
    padding,
    pointwise,
    pooling,
    products,
    resample,
    shapes,
    slicing,
    softmax,
)
from nas.compiler.front_end.lowerings.builder import NetworkBuilder
from nas.compiler.front_end.lowerings.fallback import lower_to_host
from nas.compiler.front_end.rewrite.commute import activations_first
from nas.compiler.front_end.rewrite.expanded import spread_by_readers
from nas.compiler.front_end.rewrite.unfold import unfolded
from nas.compiler.front_end.tracing.calls import Call, Quantise, TracedForward, Value
from nas.compiler.front_end.tracing.needed import needed
from nas.compiler.front_end.tracing.trace import trace
from nas.compiler.network import Network
from nas.core.errors import InputError

Lowering = Callable[[NetworkBuilder, Call], bool]

LOWERINGS: dict[Any, Lowering] = {
    **arithmetic.LOWERINGS,
    **layers.LOWERINGS,
    **normalise.LOWERINGS,
    **padding.LOWERINGS,
    **pointwise.LOWERINGS,
    **pooling.LOWERINGS,
    **products.LOWERINGS,
    **resample.LOWERINGS,
    **shapes.LOWERINGS,
    **slicing.LOWERINGS,
    **softmax.LOWERINGS,
}


def network_of(module: nn.Module, input_shapes: tuple[tuple[int, ...], ...], name: str = "") -> Network:
    """Trace `module` for inputs of these shapes (batch first) and lower it.

    Works on the meta device too; the network then has no bytes for its constants: it can be priced, not executed.
    """
    return lowered(module, input_shapes, name)[0]


def lowered(module: nn.Module, input_shapes: tuple[tuple[int, ...], ...], name: str) -> tuple[Network, NetworkBuilder]:
    """The network, and the builder, which knows the tensors of all traced values."""
    forward = unfolded(activations_first(needed(spread_by_readers(trace(module, input_shapes)))))
    _refuse_nothing(forward)
    known_values = all(parameter.device.type != "meta" for parameter in module.parameters())
    builder = NetworkBuilder(name or type(module).__name__, known_values, forward.calls)
    names = tuple(map(builder.input, forward.inputs, forward.input_names))
    with torch.no_grad():
        for call in forward.calls:
            key = Quantise if isinstance(call.function, Quantise) else call.function
            lowering = LOWERINGS.get(key)
            if lowering is None or not _is_for_engines(call) or not lowering(builder, call):
                lower_to_host(builder, call)
    return builder.network(forward, names), builder


def _refuse_nothing(forward: TracedForward) -> None:
    """InputError for a value without elements, of which there is nothing to compute."""
    named = zip(forward.input_names, forward.inputs, strict=True)
    for where, value in (*named, *((call.layer, each) for call in forward.calls for each in call.outputs)):
        if 0 in value.shape:
            raise InputError(where, "", "tensors that have elements", f"one of shape {value.shape}")


def _is_for_engines(call: Call) -> bool:
    """Whether all that a call reads and makes are real numbers with a batch axis, which is all that engines know."""
    values = [*call.outputs, *(each for each in call.arguments if isinstance(each, Value))]
    return all(value.shape and value.dtype.is_floating_point for value in values)
