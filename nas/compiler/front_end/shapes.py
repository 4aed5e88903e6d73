"""Lowerings of functions that only move or rename data: reshape, transpose, slice, concat, dropout in evaluation."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from nas.compiler.front_end.builder import Look, NetworkBuilder
from nas.compiler.front_end.signature import Arguments, torch_functions
from nas.compiler.front_end.trace import Call, Value
from nas.ir.program import Concat, View

Lowering = Callable[[NetworkBuilder, Call], bool]


def _identity(builder: NetworkBuilder, call: Call) -> bool:
    value = call.arguments[0]
    if not isinstance(value, Value) or call.outputs[0].shape != value.shape:
        return False
    builder.bind_look(call.outputs[0], builder.look(value))
    return True


def _dropout(builder: NetworkBuilder, call: Call) -> bool:
    training = Arguments(call, "input p=0.5 training=True inplace=False").training
    return not training and _identity(builder, call)


def _reshape(builder: NetworkBuilder, call: Call) -> bool:
    """Any function whose result has the same elements in the same order, and the batch still first."""
    value, output = call.arguments[0], call.outputs[0]
    if not isinstance(value, Value) or value.shape[:1] != output.shape[:1] or len(output.shape) < 2:
        return False
    if math.prod(value.shape) != math.prod(output.shape):
        return False
    look = builder.look(value)
    if not look.in_order:
        form = builder.tensors[look.name].format
        view = View(look.split, look.order)
        builder.bind(output, builder.apply(call.layer, view, (look.name,), output.shape, form))
        return True
    builder.bind_look(output, Look(look.name, output.shape[1:], tuple(range(len(output.shape) - 1))))
    return True


def _transpose(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input dim0 dim1")
    rank = len(a.input.shape)
    order = list(range(rank))
    first, second = a.dim0 % rank, a.dim1 % rank
    order[first], order[second] = order[second], order[first]
    return _reorder(builder, call, a.input, order)


def _permute(builder: NetworkBuilder, call: Call) -> bool:
    dims = call.arguments[1:] or (call.keywords.get("dims"),)
    order = dims[0] if isinstance(dims[0], tuple) else dims
    return _reorder(builder, call, call.arguments[0], [axis % len(order) for axis in order])


def _reorder(builder: NetworkBuilder, call: Call, value: Value, order: list[int]) -> bool:
    if order[0] != 0:
        return False
    look = builder.look(value)
    moved = tuple(look.order[axis - 1] for axis in order[1:])
    builder.bind_look(call.outputs[0], Look(look.name, look.split, moved))
    return True


def _chunks(signature: str) -> Lowering:
    def lower(builder: NetworkBuilder, call: Call) -> bool:
        a = Arguments(call, signature)
        if a.dim % len(a.input.shape) != 1:
            return False
        source, start = builder.read(a.input, call.layer), 0
        for output in call.outputs:
            _slice(builder, call, source, (start, start + output.shape[1]), output)
            start += output.shape[1]
        return True

    return lower


def _slice(builder: NetworkBuilder, call: Call, source: str, bounds: tuple[int, int], output: Value) -> None:
    tensor = builder.tensors[source]
    view = View(tensor.shape[1:], tuple(range(len(tensor.shape) - 1)), *bounds)
    builder.bind(output, builder.apply(call.layer, view, (source,), output.shape, tensor.format))


def _narrow(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input dim start length")
    if a.dim % len(a.input.shape) != 1 or not isinstance(a.start, int):
        return False
    start = a.start % a.input.shape[1] if a.start < 0 else a.start
    _slice(builder, call, builder.read(a.input, call.layer), (start, start + a.length), call.outputs[0])
    return True


def _getitem(builder: NetworkBuilder, call: Call) -> bool:
    """x[:, a:b]: whole batch, a step-1 slice of the channels, everything behind."""
    value, index = call.arguments[0], call.arguments[1]
    index = index if isinstance(index, tuple) else (index,)
    if len(index) != 2 or index[0] != slice(None) or not isinstance(index[1], slice) or len(value.shape) < 3:
        return False
    start, stop, step = index[1].indices(value.shape[1])
    if step != 1 or stop <= start:
        return False
    _slice(builder, call, builder.read(value, call.layer), (start, stop), call.outputs[0])
    return True


def _cat(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "tensors dim=0")
    if not all(isinstance(value, Value) for value in a.tensors):
        return False
    if a.dim % len(a.tensors[0].shape) != 1 or len(a.tensors[0].shape) < 3:
        return False
    names = [builder.read(value, call.layer) for value in a.tensors]
    if len({builder.tensors[name].format for name in names}) > 1:
        names = [builder.as_float(name) for name in names]
    form = builder.tensors[names[0]].format
    name = builder.apply(call.layer, Concat(), tuple(names), call.outputs[0].shape, form)
    builder.bind(call.outputs[0], name)
    return True


_TABLE: list[tuple[Lowering, list[Any]]] = [
    (_identity, torch_functions("Tensor.contiguous", "Tensor.clone", "Tensor.detach", "clone", "Tensor.float")),
    (_dropout, [F.dropout, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout]),
    (
        _reshape,
        torch_functions(
            "flatten",
            "Tensor.flatten",
            "reshape",
            "Tensor.reshape",
            "Tensor.view",
            "squeeze",
            "Tensor.squeeze",
            "unsqueeze",
            "Tensor.unsqueeze",
            "Tensor.unflatten",
            "Tensor.view_as",
        ),
    ),
    (_transpose, torch_functions("transpose", "Tensor.transpose", "swapaxes", "Tensor.swapaxes")),
    (_permute, torch_functions("permute", "Tensor.permute")),
    (_chunks("input chunks dim=0"), torch_functions("chunk", "Tensor.chunk")),
    (_chunks("input sizes dim=0"), [*torch_functions("split", "Tensor.split"), torch.functional.split]),
    (_narrow, torch_functions("narrow", "Tensor.narrow")),
    (_getitem, torch_functions("Tensor.__getitem__")),
    (_cat, torch_functions("cat", "concat", "concatenate")),
]

LOWERINGS: dict[Any, Lowering] = {function: lowering for lowering, functions in _TABLE for function in functions}
