"""Lowerings of functions with weights: convolutions of one and two axes, and linear layers on tensors of any rank.

A linear layer on more than rows is a 1x1 convolution whose channels are the last axis: the same sums, cut into tiles as maps
are. Zeros around the input (`torch.nn.functional.pad`) join the convolution's own padding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from nas.compiler.front_end.lowerings.builder import NO_ZEROS, Look, NetworkBuilder
from nas.compiler.front_end.lowerings.frames import MAP_RANK, ROWS_RANK, as_map, from_map
from nas.compiler.front_end.sides import pair
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.ir.command import Conv, Matmul, Tail, Window
from nas.ir.tensor import Format, sums_format

Padding = tuple[int, int, int, int]


def padding_of(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> Padding:
    """Padding as (top, left, bottom, right), also of the words "same" and "valid"."""
    if padding == "valid":
        return NO_ZEROS
    if padding == "same":
        total = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
    rows, columns = pair(padding)
    return (rows, columns, rows, columns)


def _biased(builder: NetworkBuilder, bias: Any, channels: int, layer: str) -> tuple[Tail, tuple[str, ...]]:
    """The tail that adds a bias, and the table it reads."""
    if bias is None:
        return Tail(), ()
    shift = np.zeros(channels) if bias.device.type == "meta" else bias.detach().double().cpu().numpy()
    return Tail(table=True), (builder.table(np.ones(channels), shift, f"{layer}.bias"),)


def accumulated(tail: Tail, left: Format, right: Format) -> Tail:
    """Two coded operands without a bias leave their exact sums as 32-bit codes; anything else leaves float32."""
    return tail if tail.table else Tail(output=sums_format(left, right))


def _is_weighted(value: Any, weight: Any, bias: Any) -> bool:
    return isinstance(value, Value) and not isinstance(weight, Value) and not isinstance(bias, Value)


def _conv2d(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input weight bias=None stride=1 padding=0 dilation=1 groups=1")
    if not _is_weighted(a.input, a.weight, a.bias) or len(a.input.shape) != MAP_RANK:
        return False
    kernel, dilation = pair(a.weight.shape[2:]), pair(a.dilation)
    padding = padding_of(a.padding, kernel, dilation)
    look = builder.padded_look(a.input)
    top, left, bottom, right = look.zeros
    shape = (*a.input.shape[:2], a.input.shape[2] - top - bottom, a.input.shape[3] - left - right)
    source = builder.stored(Look(look.name, look.split, look.order), shape, call.layer)
    window = Window(
        kernel,
        pair(a.stride),
        (padding[0] + top, padding[1] + left, padding[2] + bottom, padding[3] + right),
        dilation,
    )
    name = _convolved(builder, call, source, a, window, tuple(a.weight.shape))
    builder.bind(call.outputs[0], name)
    return True


def _conv1d(builder: NetworkBuilder, call: Call) -> bool:
    """The one axis lies along the rows."""
    a = Arguments(call, "input weight bias=None stride=1 padding=0 dilation=1 groups=1")
    if not _is_weighted(a.input, a.weight, a.bias) or len(a.input.shape) != MAP_RANK - 1:
        return False
    kernel, dilation = (int(a.weight.shape[2]), 1), (pair(a.dilation)[0], 1)
    padding = a.padding if isinstance(a.padding, str) else (pair(a.padding)[0], 0)
    window = Window(kernel, (pair(a.stride)[0], 1), padding_of(padding, kernel, dilation), dilation)
    source = as_map(builder, a.input, 1, call.layer)
    name = _convolved(builder, call, source, a, window, (*a.weight.shape, 1))
    from_map(builder, call.outputs[0], 1, name)
    return True


def _convolved(
    builder: NetworkBuilder, call: Call, source: str, a: Arguments, window: Window, weight_shape: tuple[int, ...]
) -> str:
    weight = builder.constant(a.weight, f"{call.layer}.weight", weight_shape)
    tail, table = _biased(builder, a.bias, weight_shape[0], call.layer)
    tensor, weight_format = builder.tensors[source], builder.tensors[weight].format
    tail = accumulated(tail, tensor.format, weight_format)
    function = Conv(window, int(a.groups), tensor.format, weight_format, tail)
    shape = (tensor.shape[0], weight_shape[0], *window.output_size(*tensor.shape[2:]))
    return builder.apply(call.layer, function, (source, weight, *table), shape, tail.output)


def _linear(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input weight bias=None")
    if not _is_weighted(a.input, a.weight, a.bias) or len(a.input.shape) < ROWS_RANK or len(a.weight.shape) != 2:
        return False
    summed_along(builder, a.input, len(a.input.shape) - 1, (a.weight, a.bias), call.outputs[0], call.layer)
    return True


def summed_along(
    builder: NetworkBuilder, value: Value, axis: int, layer_of: tuple[Any, Any], output: Value, layer: str
) -> None:
    """`output` has along `axis` the sums of `value` that a linear layer makes of its places: (weight (after, before), bias)."""
    given, bias = layer_of
    channels, depth = (int(size) for size in given.shape)
    is_rows = len(value.shape) == ROWS_RANK
    tail, table = _biased(builder, bias, channels, layer)
    source = builder.read(value, layer) if is_rows else as_map(builder, value, axis, layer)
    tensor = builder.tensors[source]
    weight = builder.constant(given, f"{layer}.weight", (channels, depth) + (() if is_rows else (1, 1)))
    weight_format = builder.tensors[weight].format
    tail = accumulated(tail, tensor.format, weight_format)
    function: Conv | Matmul = Conv(Window(), 1, tensor.format, weight_format, tail)
    if is_rows:
        function = Matmul(tensor.format, weight_format, tail)
    shape = (tensor.shape[0], channels, *tensor.shape[2:])
    name = builder.apply(layer, function, (source, weight, *table), shape, tail.output)
    if is_rows:
        builder.bind(output, name)
    else:
        from_map(builder, output, axis, name)


CONVOLUTIONS = [F.conv2d, torch.conv2d]

_TABLE: list[tuple[Callable[[NetworkBuilder, Call], bool], list[Any]]] = [
    (_conv2d, CONVOLUTIONS),
    (_conv1d, [F.conv1d, torch.conv1d]),
    (_linear, [F.linear]),
]

LOWERINGS: dict[Any, Callable[[NetworkBuilder, Call], bool]] = {
    function: lowering for lowering, functions in _TABLE for function in functions
}
