"""Lowerings of functions that compute: convolution, linear, batch norm, activations, sums, pooling, quantisers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from nas.compiler.front_end.builder import Look, NetworkBuilder
from nas.compiler.front_end.signature import Arguments, pair, torch_functions
from nas.compiler.front_end.trace import Call, Quantise, Value
from nas.ir.command import Activation, Conv, Eltwise, Matmul, Pool, Tail, Window
from nas.ir.tensor import FLOAT32, Format, container_bits

MAP_RANK = 4
ROWS_RANK = 2


def _padding(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding as (top, left, bottom, right), also of the words "same" and "valid"."""
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        total = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
    rows, columns = pair(padding)
    return (rows, columns, rows, columns)


def _weight_format(builder: NetworkBuilder, name: str) -> Format:
    return builder.tensors[name].format


def _biased(builder: NetworkBuilder, bias: Any, channels: int, layer: str) -> tuple[Tail, tuple[str, ...]]:
    """The tail that adds a bias, and the table it reads."""
    if bias is None:
        return Tail(), ()
    shift = np.zeros(channels) if bias.device.type == "meta" else bias.detach().double().cpu().numpy()
    return Tail(table=True), (builder.table(np.ones(channels), shift, f"{layer}.bias"),)


def _conv2d(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input weight bias=None stride=1 padding=0 dilation=1 groups=1")
    if not isinstance(a.input, Value) or isinstance(a.weight, Value) or len(a.input.shape) != MAP_RANK:
        return False
    source = builder.read(a.input, call.layer)
    weight = builder.constant(a.weight, f"{call.layer}.weight")
    kernel, dilation = pair(a.weight.shape[2:]), pair(a.dilation)
    window = Window(kernel, pair(a.stride), _padding(a.padding, kernel, dilation), dilation)
    tail, table = _biased(builder, a.bias, a.weight.shape[0], call.layer)
    input_format, weight_format = builder.tensors[source].format, _weight_format(builder, weight)
    tail = _accumulated(tail, input_format, weight_format)
    function = Conv(window, int(a.groups), input_format, weight_format, tail)
    name = builder.apply(call.layer, function, (source, weight, *table), call.outputs[0].shape, tail.output)
    builder.bind(call.outputs[0], name)
    return True


def _linear(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input weight bias=None")
    if not isinstance(a.input, Value) or isinstance(a.weight, Value) or len(a.input.shape) != ROWS_RANK:
        return False
    source = builder.read(a.input, call.layer)
    weight = builder.constant(a.weight, f"{call.layer}.weight")
    tail, table = _biased(builder, a.bias, a.weight.shape[0], call.layer)
    input_format, weight_format = builder.tensors[source].format, _weight_format(builder, weight)
    tail = _accumulated(tail, input_format, weight_format)
    function = Matmul(input_format, weight_format, tail)
    name = builder.apply(call.layer, function, (source, weight, *table), call.outputs[0].shape, tail.output)
    builder.bind(call.outputs[0], name)
    return True


def _accumulated(tail: Tail, left: Format, right: Format) -> Tail:
    """Two coded operands without a bias leave their exact sums as 32-bit codes; anything else leaves float32."""
    if not (left.is_code and right.is_code) or tail.table:
        return tail
    return Tail(output=Format(32, "code", left.scale * right.scale))


def _batch_norm(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input running_mean running_var weight=None bias=None training=False momentum=0.1 eps=0.00001")
    if not isinstance(a.input, Value) or a.training or a.running_mean is None:
        return False
    channels = a.running_mean.shape[0]
    if a.running_mean.device.type == "meta":
        scale, shift = np.ones(channels), np.zeros(channels)
    else:
        mean, variance = (tensor.detach().double().cpu().numpy() for tensor in (a.running_mean, a.running_var))
        gain = np.ones(channels) if a.weight is None else a.weight.detach().double().cpu().numpy()
        offset = np.zeros(channels) if a.bias is None else a.bias.detach().double().cpu().numpy()
        scale = gain / np.sqrt(variance + a.eps)
        shift = offset - mean * scale
    return _eltwise(builder, call, a.input, Tail(table=True), (builder.table(scale, shift, f"{call.layer}.table"),))


def _eltwise(builder: NetworkBuilder, call: Call, value: Value, tail: Tail, extra: tuple[str, ...] = ()) -> bool:
    source = builder.read(value, call.layer)
    function = Eltwise(builder.tensors[source].format, tail)
    name = builder.apply(call.layer, function, (source, *extra), value.shape, tail.output)
    builder.bind(call.outputs[0], name)
    return True


def _activation(activation: Activation, low: float = 0.0, high: float = 0.0) -> Callable[[NetworkBuilder, Call], bool]:
    def lower(builder: NetworkBuilder, call: Call) -> bool:
        return _eltwise(builder, call, call.arguments[0], Tail(activation=activation, low=low, high=high))

    return lower


def _clip(signature: str, low: str, high: str) -> Callable[[NetworkBuilder, Call], bool]:
    def lower(builder: NetworkBuilder, call: Call) -> bool:
        a = Arguments(call, signature)
        bounds = (getattr(a, low), getattr(a, high))
        if not all(isinstance(bound, int | float) for bound in bounds):
            return False
        return _eltwise(builder, call, a.input, Tail(activation="clip", low=float(bounds[0]), high=float(bounds[1])))

    return lower


def _add(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input other alpha=1")
    if not isinstance(a.input, Value) or not isinstance(a.other, Value) or a.alpha != 1:
        return False
    if a.input.shape != a.other.shape:
        return False
    addend = builder.read(a.other, call.layer)
    return _eltwise(builder, call, a.input, Tail(add=builder.tensors[addend].format), (addend,))


def _quantise(builder: NetworkBuilder, call: Call) -> bool:
    quantise = call.function
    assert isinstance(quantise, Quantise)
    levels = 2**quantise.bits - 1
    form = Format(container_bits(quantise.bits), "code", quantise.scale, 1, -quantise.zero, levels)
    return _eltwise(builder, call, call.arguments[0], Tail(output=form))


def _max_pool(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input kernel_size stride=None padding=0 dilation=1 ceil_mode=False return_indices=False")
    if a.return_indices:
        return False
    return _pool(builder, call, a, "max", pair(a.dilation))


def _avg_pool(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(
        call, "input kernel_size stride=None padding=0 ceil_mode=False count_include_pad=True divisor_override=None"
    )
    if a.divisor_override is not None or a.ceil_mode:
        return False
    return _pool(builder, call, a, "mean", (1, 1), bool(a.count_include_pad))


def _pool(
    builder: NetworkBuilder, call: Call, a: Any, kind: Any, dilation: tuple[int, int], count_padding: bool = True
) -> bool:
    if not isinstance(a.input, Value) or len(a.input.shape) != MAP_RANK:
        return False
    kernel = pair(a.kernel_size)
    stride = pair(a.stride) if a.stride not in (None, (), []) else kernel
    padding = list(_padding(a.padding, kernel, dilation))
    window = Window(kernel, stride, (padding[0], padding[1], padding[2], padding[3]), dilation)
    rows, columns = call.outputs[0].shape[2:]
    if window.output_size(*a.input.shape[2:]) != (rows, columns):  # ceil_mode: the last window needs more padding
        needs = [
            (count - 1) * step + gap * (size - 1) + 1 - length - front
            for count, step, gap, size, length, front in zip(
                (rows, columns), stride, dilation, kernel, a.input.shape[2:], padding[:2], strict=True
            )
        ]
        window = Window(kernel, stride, (padding[0], padding[1], max(needs[0], 0), max(needs[1], 0)), dilation)
    return _add_pool(builder, call, a.input, Pool(kind, window, count_padding))


def _add_pool(builder: NetworkBuilder, call: Call, value: Value, pool: Pool) -> bool:
    source = builder.read(value, call.layer)
    form = builder.tensors[source].format
    output = form if pool.kind == "max" else FLOAT32
    function = Pool(pool.kind, pool.window, pool.count_padding, form, output)
    shape = (*value.shape[:2], *pool.window.output_size(*value.shape[2:]))
    name = builder.apply(call.layer, function, (source,), shape, output)
    builder.bind(call.outputs[0], name)
    if shape != call.outputs[0].shape:  # a mean that drops its axes
        flat = call.outputs[0].shape[1:]
        builder.bind_look(call.outputs[0], Look(name, flat, tuple(range(len(flat)))))
    return True


def _adaptive_avg_pool(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input output_size")
    if len(a.input.shape) != MAP_RANK:
        return False
    sizes = [
        size if size is not None else have for size, have in zip(_two(a.output_size), a.input.shape[2:], strict=True)
    ]
    if any(have % size for have, size in zip(a.input.shape[2:], sizes, strict=True)):
        return False
    kernel = (a.input.shape[2] // sizes[0], a.input.shape[3] // sizes[1])
    return _add_pool(builder, call, a.input, Pool("mean", Window(kernel, kernel)))


def _two(value: Any) -> tuple[Any, Any]:
    return (value[0], value[-1]) if isinstance(value, tuple | list) else (value, value)


def _mean(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input dim=None keepdim=False dtype=None")
    if a.dim is None or len(a.input.shape) != MAP_RANK or a.dtype is not None:
        return False
    axes = a.dim if isinstance(a.dim, tuple) else (a.dim,)
    if sorted(axis % MAP_RANK for axis in axes) != [2, 3]:
        return False
    kernel = pair(a.input.shape[2:])
    return _add_pool(builder, call, a.input, Pool("mean", Window(kernel, kernel)))


_TABLE: list[tuple[Callable[[NetworkBuilder, Call], bool], list[Any]]] = [
    (_conv2d, [F.conv2d, torch.conv2d]),
    (_linear, [F.linear]),
    (_batch_norm, [F.batch_norm]),
    (_quantise, [Quantise]),
    (_activation("relu"), [F.relu, F.relu_, *torch_functions("relu", "relu_", "Tensor.relu", "Tensor.relu_")]),
    (_activation("clip", 0.0, 6.0), [F.relu6]),
    (_activation("sigmoid"), [F.sigmoid, *torch_functions("sigmoid", "Tensor.sigmoid", "Tensor.sigmoid_")]),
    (_activation("hard_sigmoid"), [F.hardsigmoid]),
    (_activation("hard_swish"), [F.hardswish]),
    (_activation("silu"), [F.silu]),
    (_clip("input min_val=-1.0 max_val=1.0", "min_val", "max_val"), [F.hardtanh, F.hardtanh_]),
    (
        _clip("input min=None max=None", "min", "max"),
        torch_functions("clamp", "clamp_", "clip", "Tensor.clamp", "Tensor.clamp_", "Tensor.clip"),
    ),
    (_add, torch_functions("add", "Tensor.add", "Tensor.add_", "Tensor.__add__", "Tensor.__iadd__", "Tensor.__radd__")),
    (_max_pool, [F.max_pool2d, *torch_functions("max_pool2d", "nn.functional._max_pool2d")]),
    (_avg_pool, [F.avg_pool2d]),
    (_adaptive_avg_pool, [F.adaptive_avg_pool2d]),
    (_mean, torch_functions("mean", "Tensor.mean")),
]

LOWERINGS: dict[Any, Callable[[NetworkBuilder, Call], bool]] = {
    function: lowering for lowering, functions in _TABLE for function in functions
}
