"""Lowerings of products of two tensors that both depend on the input: grouped convolutions whose weights are a map.

For each place g along the axes in front (the heads of an attention), left (m, k) times right (k, n) is a 1x1 convolution of
the right one, with k as its channels and n as its rows, by the left one, whose rows are the m outputs of group g:

    data (g k, n, 1)    weights (g m, k, 1, 1)    result (g m, n, 1)

So queries times keys leave, for each query, its row of numbers along the rows of a map, where a softmax finds them, and a result
is the weights of the product behind it, all as they are stored. Only what has its sum along another axis is moved.
"""

import math

from nas.compiler.front_end.lowerings.builder import NetworkBuilder
from nas.compiler.front_end.lowerings.layers import accumulated
from nas.compiler.front_end.lowerings.pointwise import Lowering
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.ir.command import Conv, Tail, Window

_FEWEST_AXES = 3  # batch, rows, columns


def _matmul(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input other")
    left, right = a.input, a.other
    if not isinstance(left, Value) or not isinstance(right, Value) or len(left.shape) < _FEWEST_AXES:
        return False
    if left.shape[:-2] != right.shape[:-2]:
        return False
    images, *heads, outputs, depth = left.shape
    groups, layer = math.prod(heads), call.layer
    weights = builder.stored(builder.look(left, layer), (images, groups * outputs, depth, 1, 1), layer)
    data = builder.stored(builder.look(right, layer), (*right.shape, 1), layer)
    forms = builder.tensors[data].format, builder.tensors[weights].format
    function = Conv(Window(), groups, *forms, accumulated(Tail(), *forms))
    shape = (images, groups * outputs, right.shape[-1], 1)
    name = builder.apply(layer, function, (data, weights), shape, function.tail.output)
    builder.bind_as(call.outputs[0], name)
    return True


LOWERINGS: dict[object, Lowering] = dict.fromkeys(
    torch_functions("matmul", "bmm", "Tensor.matmul", "Tensor.bmm", "Tensor.__matmul__"), _matmul
)
