"""A layer norm over one axis -> products and element-wise steps that engines know.

    minus_mean = -1/C . x                         a 1x1 convolution to one channel
    spread     = 1 / sqrt(1/C . (x + minus_mean)^2 + eps)
    y          = (x + minus_mean) * weight * spread + bias

The axis becomes the channels of a map, of which C is the size. In two passes, as PyTorch does it: the mean of the squares less
the square of the mean would lose what is far from 0. x + minus_mean is made twice, so that each copy has one reader
and passes through the chip in stripes.
"""

import numpy as np
import torch
import torch.nn.functional as F

from nas.compiler.front_end.builder import NetworkBuilder
from nas.compiler.front_end.frames import ROWS_RANK, as_map, from_map
from nas.compiler.front_end.pointwise import Lowering, doubles
from nas.compiler.front_end.signature import Arguments
from nas.compiler.front_end.trace import Call, Value
from nas.ir.command import Conv, Eltwise, Tail, Window
from nas.ir.tensor import FLOAT32


def _layer_norm(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input normalized_shape weight=None bias=None eps=0.00001")
    if not isinstance(a.input, Value) or len(a.input.shape) < ROWS_RANK or len(a.normalized_shape) != 1:
        return False
    if isinstance(a.weight, Value) or isinstance(a.bias, Value):
        return False
    axis, layer = len(a.input.shape) - 1, call.layer
    source = as_map(builder, a.input, axis, layer)
    tensor = builder.tensors[source]
    minus_mean = _mean(builder, source, -1.0, Tail(), layer)
    squares = Eltwise(tensor.format, Tail(add=FLOAT32, activation="square"))
    squared = builder.apply(layer, squares, (source, minus_mean), tensor.shape, FLOAT32)
    table = builder.table(np.ones(1), np.full(1, float(a.eps)), f"{layer}.eps")
    spread = _mean(builder, squared, 1.0, Tail(table=True, activation="rsqrt"), layer, (table,))
    centred = builder.apply(
        layer, Eltwise(tensor.format, Tail(add=FLOAT32)), (source, minus_mean), tensor.shape, FLOAT32
    )
    operands = [centred]
    if a.weight is not None:
        weight = np.ones(tensor.shape[1]) if a.weight.device.type == "meta" else doubles(a.weight)
        operands.append(builder.table(weight, 0.0 * weight, f"{layer}.table"))
    operands.append(spread)
    if a.bias is not None:
        operands.append(builder.constant(a.bias, f"{layer}.bias", (tensor.shape[1], 1, 1)))
    tail = Tail(table=a.weight is not None, multiply=FLOAT32, add=None if a.bias is None else FLOAT32)
    name = builder.apply(layer, Eltwise(FLOAT32, tail), tuple(operands), tensor.shape, FLOAT32)
    from_map(builder, call.outputs[0], axis, name)
    return True


def _mean(
    builder: NetworkBuilder, source: str, sign: float, tail: Tail, layer: str, operands: tuple[str, ...] = ()
) -> str:
    """The mean over the channels of a map, as one channel, and then `tail`."""
    tensor = builder.tensors[source]
    images, channels, *sides = tensor.shape
    equal = torch.full((1, channels), sign / channels, device="cpu" if builder.known_values else "meta")
    weight = builder.constant(equal, f"{layer}.mean", (1, channels, 1, 1))
    function = Conv(Window((1, 1)), 1, tensor.format, FLOAT32, tail)
    return builder.apply(layer, function, (source, weight, *operands), (images, 1, *sides), FLOAT32)


LOWERINGS: dict[object, Lowering] = {F.layer_norm: _layer_norm}
