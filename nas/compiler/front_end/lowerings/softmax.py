"""A softmax over one axis -> maxima, means and element-wise steps that engines know.

    powers = exp(x - max x)
    y      = powers * 1 / (n * mean powers)

The axis, of size n, becomes the rows of a map whose other axes are its channels: windows of all rows find the largest number
and the mean. The largest number is taken off first, as PyTorch does it: the others then cannot overflow.
"""

from nas.compiler.front_end.lowerings.builder import NetworkBuilder
from nas.compiler.front_end.lowerings.frames import ROWS_RANK, as_rows, from_rows
from nas.compiler.front_end.lowerings.pointwise import Lowering, times
from nas.compiler.front_end.lowerings.pooling import over_rows
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.ir.command import Eltwise, Tail
from nas.ir.tensor import FLOAT32


def _softmax(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input dim=None")
    if not isinstance(a.input, Value) or not isinstance(a.dim, int) or len(a.input.shape) < ROWS_RANK:
        return False
    axis, layer = a.dim % len(a.input.shape), call.layer
    if axis == 0 or call.outputs[0].dtype != a.input.dtype:
        return False
    source, count = as_rows(builder, a.input, axis, layer), a.input.shape[axis]
    minus = times(builder, over_rows(builder, layer, source, "max"), -1.0, "none", layer)
    raised = Eltwise(builder.tensors[source].format, Tail(add=FLOAT32, activation="exp"))
    powers = builder.apply(layer, raised, (source, minus), builder.tensors[source].shape, FLOAT32)
    shares = times(builder, over_rows(builder, layer, powers, "mean"), float(count), "reciprocal", layer)
    product = Eltwise(FLOAT32, Tail(multiply=FLOAT32))
    name = builder.apply(layer, product, (powers, shares), builder.tensors[source].shape, FLOAT32)
    from_rows(builder, call.outputs[0], axis, name)
    return True


LOWERINGS: dict[object, Lowering] = dict.fromkeys(
    torch_functions("softmax", "Tensor.softmax", "nn.functional.softmax", "special.softmax"), _softmax
)
