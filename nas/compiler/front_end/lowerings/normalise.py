"""Norms of what a network computes on the way -> products, means and element-wise steps that engines know.

layer norm over one axis, which becomes the C channels of a map

    minus_mean = -1/C . x                         a 1x1 convolution to one channel
    spread     = 1 / sqrt(1/C . (x + minus_mean)^2 + eps)
    y          = (x + minus_mean) * weight * spread + bias

group norm over the C channels of each group and all their places (Wu and He, arXiv 1803.08494)

    minus_mean = -1/C . mean x                    a grouped 1x1 convolution, which gives every channel the sum of its group
    scale      = weight / sqrt(1/C . mean (x + minus_mean)^2 + eps)
    y          = x * scale + (bias + minus_mean * scale)

unit length along one axis, of size n, which becomes the rows of a map

    y          = x * min(1 / sqrt(n * mean x^2), 1 / eps)

Squares are summed in a second pass, as PyTorch does it: the mean of the squares less the square of the mean would lose what is
far from 0. x + minus_mean is made twice, so that each copy has one reader and passes through the chip in stripes.
"""

import numpy as np
import torch
import torch.nn.functional as F

from nas.compiler.front_end.lowerings.builder import NetworkBuilder
from nas.compiler.front_end.lowerings.frames import ROWS_RANK, as_map, as_rows, from_map, from_rows, map_sides
from nas.compiler.front_end.lowerings.pointwise import Lowering, doubles, times
from nas.compiler.front_end.lowerings.pooling import over_rows, pooled
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.ir.command import Conv, Eltwise, Pool, Tail, Window
from nas.ir.tensor import FLOAT32

_EUCLIDEAN = 2.0
_SQUARE = Tail(add=FLOAT32, activation="square")


def _layer_norm(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input normalized_shape weight=None bias=None eps=0.00001")
    if not isinstance(a.input, Value) or len(a.input.shape) < ROWS_RANK or len(a.normalized_shape) != 1:
        return False
    if isinstance(a.weight, Value) or isinstance(a.bias, Value):
        return False
    axis, layer = len(a.input.shape) - 1, call.layer
    source = as_map(builder, a.input, axis, layer)
    tensor = builder.tensors[source]
    whole = (1, tensor.shape[1])
    minus_mean = _mean(builder, source, whole, -1.0, Tail(), layer)
    squared = builder.apply(layer, Eltwise(tensor.format, _SQUARE), (source, minus_mean), tensor.shape, FLOAT32)
    table = builder.table(np.ones(1), np.full(1, float(a.eps)), f"{layer}.eps")
    spread = _mean(builder, squared, whole, 1.0, Tail(table=True, activation="rsqrt"), layer, (table,))
    centred = builder.apply(
        layer, Eltwise(tensor.format, Tail(add=FLOAT32)), (source, minus_mean), tensor.shape, FLOAT32
    )
    operands = [centred]
    if a.weight is not None:
        operands.append(_table(builder, a.weight, layer))
    operands.append(spread)
    if a.bias is not None:
        operands.append(builder.constant(a.bias, f"{layer}.bias", (tensor.shape[1], 1, 1)))
    tail = Tail(table=a.weight is not None, multiply=FLOAT32, add=None if a.bias is None else FLOAT32)
    name = builder.apply(layer, Eltwise(FLOAT32, tail), tuple(operands), tensor.shape, FLOAT32)
    from_map(builder, call.outputs[0], axis, name)
    return True


def _group_norm(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input num_groups weight=None bias=None eps=0.00001")
    if isinstance(a.weight, Value) or isinstance(a.bias, Value):
        return False
    images, channels, *others = a.input.shape
    layer, groups = call.layer, int(a.num_groups)
    source = builder.stored(builder.look(a.input, layer), (images, channels, *map_sides(list(others))), layer)
    tensor = builder.tensors[source]
    each = (channels, channels // groups)
    minus_mean = _mean(builder, _mean_of_places(builder, source, layer), each, -1.0, Tail(), layer)
    squared = builder.apply(layer, Eltwise(tensor.format, _SQUARE), (source, minus_mean), tensor.shape, FLOAT32)
    table = builder.table(np.ones(channels), np.full(channels, float(a.eps)), f"{layer}.eps")
    tail = Tail(table=True, activation="rsqrt")
    scale = _mean(builder, _mean_of_places(builder, squared, layer), each, 1.0, tail, layer, (table,))
    small = builder.tensors[scale].shape
    if a.weight is not None:
        weight = _table(builder, a.weight, layer)
        scale = builder.apply(layer, Eltwise(FLOAT32, Tail(table=True)), (scale, weight), small, FLOAT32)
    operands, tail = [minus_mean, scale], Tail(multiply=FLOAT32)
    if a.bias is not None:
        operands.append(builder.constant(a.bias, f"{layer}.bias", (channels, 1, 1)))
        tail = Tail(multiply=FLOAT32, add=FLOAT32)
    shift = builder.apply(layer, Eltwise(FLOAT32, tail), tuple(operands), small, FLOAT32)
    function = Eltwise(tensor.format, Tail(multiply=FLOAT32, add=FLOAT32))
    builder.bind_as(call.outputs[0], builder.apply(layer, function, (source, scale, shift), tensor.shape, FLOAT32))
    return True


def _instance_norm(builder: NetworkBuilder, call: Call) -> bool:
    """A group norm of each channel, unless statistics from the training take the place of the input's own."""
    a = Arguments(
        call, "input running_mean=None running_var=None weight=None bias=None use_input_stats=True _ eps=0.00001"
    )
    if not a.use_input_stats:
        return False
    given = (a.input, a.input.shape[1], a.weight, a.bias, a.eps)
    return _group_norm(builder, Call(F.group_norm, given, {}, call.outputs, call.layer))


def _unit_length(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input p=2.0 dim=1 eps=1e-12 out=None")
    if a.p != _EUCLIDEAN or not isinstance(a.dim, int) or len(a.input.shape) < ROWS_RANK or a.out is not None:
        return False
    axis, layer = a.dim % len(a.input.shape), call.layer
    if axis == 0:
        return False
    source, count = as_rows(builder, a.input, axis, layer), a.input.shape[axis]
    tensor = builder.tensors[source]
    squared = builder.apply(layer, Eltwise(tensor.format, Tail(activation="square")), (source,), tensor.shape, FLOAT32)
    inverse = times(builder, over_rows(builder, layer, squared, "mean"), float(count), "rsqrt", layer)
    most = Tail(activation="clip", low=0.0, high=1 / a.eps)
    bounded = builder.apply(layer, Eltwise(FLOAT32, most), (inverse,), builder.tensors[inverse].shape, FLOAT32)
    function = Eltwise(tensor.format, Tail(multiply=FLOAT32))
    from_rows(builder, call.outputs[0], axis, builder.apply(layer, function, (source, bounded), tensor.shape, FLOAT32))
    return True


def _table(builder: NetworkBuilder, weight: torch.Tensor, layer: str) -> str:
    """y * weight, by channels."""
    numbers = np.ones(len(weight)) if weight.device.type == "meta" else doubles(weight)
    return builder.table(numbers, 0.0 * numbers, f"{layer}.table")


def _mean(
    builder: NetworkBuilder,
    source: str,
    shape: tuple[int, int],
    sign: float,
    tail: Tail,
    layer: str,
    operands: tuple[str, ...] = (),
) -> str:
    """The mean over the channels of each group of a map, and then `tail`; shape: its channels, and those that each is a mean of."""
    tensor = builder.tensors[source]
    images, channels, *sides = tensor.shape
    count, depth = shape
    equal = torch.full((count, depth), sign / depth, device="cpu" if builder.known_values else "meta")
    weight = builder.constant(equal, f"{layer}.mean", (count, depth, 1, 1))
    function = Conv(Window((1, 1)), channels // depth, tensor.format, FLOAT32, tail)
    return builder.apply(layer, function, (source, weight, *operands), (images, count, *sides), FLOAT32)


def _mean_of_places(builder: NetworkBuilder, source: str, layer: str) -> str:
    """(batch, channels, 1, 1), by columns and then by rows, so that no window is more than a row or a column of a channel."""
    row = (1, builder.tensors[source].shape[-1])
    return over_rows(builder, layer, pooled(builder, layer, source, Pool("mean", Window(row, row))), "mean")


LOWERINGS: dict[object, Lowering] = {
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    **dict.fromkeys(torch_functions("nn.functional.normalize"), _unit_length),
}
