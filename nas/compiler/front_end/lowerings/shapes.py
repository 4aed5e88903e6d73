"""Lowerings of functions that only rename data: reshape, transpose, permute, dropout in evaluation."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F

from nas.compiler.front_end.lowerings.builder import Look, NetworkBuilder, Turned
from nas.compiler.front_end.lowerings.fallback import lower_to_host
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments

Lowering = Callable[[NetworkBuilder, Call], bool]


def identity(builder: NetworkBuilder, call: Call) -> bool:
    """The result is the first argument."""
    value = call.arguments[0] if call.arguments else call.keywords.get("input")
    if not isinstance(value, Value) or call.outputs[0].shape != value.shape:
        return False
    if not call.outputs[0].dtype.is_floating_point or not value.dtype.is_floating_point:
        return False
    builder.bind_look(call.outputs[0], builder.padded_look(value))
    return True


def _dropout(builder: NetworkBuilder, call: Call) -> bool:
    training = Arguments(call, "input p=0.5 training=True inplace=False").training
    return not training and identity(builder, call)


def reshape(builder: NetworkBuilder, call: Call) -> bool:
    """Any function whose result has the same elements in the same order, and the batch still first."""
    value, output = call.arguments[0], call.outputs[0]
    if not isinstance(value, Value) or value.shape[:1] != output.shape[:1] or len(output.shape) < 2:
        return False
    if math.prod(value.shape) != math.prod(output.shape):
        return False
    look = builder.look(value, call.layer)
    if look.in_order:
        builder.bind_as(output, look.name)
        return True
    regrouped = _regrouped(look, output.shape[1:])
    if regrouped is not None:
        builder.bind_look(output, regrouped)
    else:
        builder.bind_as(output, builder.stored(look, output.shape, call.layer))
    return True


def _regrouped(look: Look, shape: tuple[int, ...]) -> Look | None:
    """A reshape that only splits axes of a reordered look, or adds and drops axes of size 1; None for any other."""
    parts: list[list[int]] = []
    wanted = [size for size in shape if size != 1]
    place = 0
    for axis in look.order:
        part: list[int] = []
        size = look.split[axis]
        while math.prod(part) != size:
            if place == len(wanted) or math.prod(part) > size:
                return None
            part.append(wanted[place])
            place += 1
        parts.append(part)
    if place != len(wanted):
        return None
    split: list[int] = []
    starts: dict[int, int] = {}
    for axis, part in sorted(zip(look.order, parts, strict=True)):
        starts[axis] = len(split)
        split += part
    order = [starts[axis] + step for axis, part in zip(look.order, parts, strict=True) for step in range(len(part))]
    for position, size in enumerate(shape):
        if size == 1:
            split.append(1)
            order.insert(position, len(split) - 1)
    return Look(look.name, tuple(split), tuple(order))


def _transposed(call: Call) -> list[int]:
    a = Arguments(call, "input dim0 dim1")
    order = list(range(len(a.input.shape)))
    first, second = a.dim0 % len(order), a.dim1 % len(order)
    order[first], order[second] = order[second], order[first]
    return order


def _last_transposed(call: Call) -> list[int]:
    axes = list(range(len(call.arguments[0].shape)))
    return [*axes[:-2], axes[-1], axes[-2]]


def _permuted(call: Call) -> list[int]:
    dims = call.arguments[1:] or (call.keywords.get("dims"),)
    order = dims[0] if isinstance(dims[0], tuple) else dims
    return [axis % len(order) for axis in order]


def _moved(call: Call) -> list[int] | None:
    a = Arguments(call, "input source destination")
    if not isinstance(a.source, int) or not isinstance(a.destination, int):
        return None
    rank = len(a.input.shape)
    order = [axis for axis in range(rank) if axis != a.source % rank]
    order.insert(a.destination % rank, a.source % rank)
    return order


_ORDERS: list[tuple[Callable[[Call], list[int] | None], list[Any]]] = [
    (
        _transposed,
        torch_functions("transpose", "Tensor.transpose", "swapaxes", "Tensor.swapaxes", "swapdims", "Tensor.swapdims"),
    ),
    (_last_transposed, torch_functions("Tensor.mT.__get__")),
    (_permuted, torch_functions("permute", "Tensor.permute")),
    (_moved, torch_functions("movedim", "Tensor.movedim", "moveaxis", "Tensor.moveaxis")),
]
# Functions that put axes in another order, which each tells of a call; None for one of several axes at a time.
REORDERINGS = {function: order for order, functions in _ORDERS for function in functions}


def _reordered(builder: NetworkBuilder, call: Call) -> bool:
    order = REORDERINGS[call.function](call)
    if order is None:
        return False
    reorder(builder, Arguments(call, "input").input, order, call.outputs[0], call)
    return True


def reorder(builder: NetworkBuilder, value: Value, order: list[int], output: Value, call: Call) -> None:
    """`output` is `value` with its axes in another order; `call` is what the host does where that can't be seen."""
    turned = builder.turned(value)
    if turned is not None:
        value, order = turned.base, [turned.order[axis] for axis in order]
    if order[0] != 0:
        builder.turn(output, Turned(value, tuple(order), partial(lower_to_host, builder, call)))
        return
    look = builder.look(value, call.layer)
    builder.bind_look(output, look.permuted([axis - 1 for axis in order[1:]]))


_IDENTITIES = torch_functions(
    "Tensor.contiguous", "Tensor.clone", "Tensor.detach", "clone", "Tensor.float", "Tensor.to", "Tensor.type_as"
) + torch_functions("Tensor.expand", "Tensor.expand_as", "Tensor.requires_grad_", "nn.functional.identity")

DROPOUTS = [F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout]
RESHAPES = torch_functions(
    *("flatten", "Tensor.flatten", "unflatten", "Tensor.unflatten"),
    *("reshape", "Tensor.reshape", "Tensor.reshape_as", "Tensor.view", "Tensor.view_as"),
    *("squeeze", "Tensor.squeeze", "unsqueeze", "Tensor.unsqueeze"),
)

_TABLE: list[tuple[Lowering, list[Any]]] = [
    (identity, _IDENTITIES),
    (_dropout, DROPOUTS),
    (reshape, RESHAPES),
    (_reordered, list(REORDERINGS)),
]
LOWERINGS: dict[Any, Lowering] = {function: lowering for lowering, functions in _TABLE for function in functions}
