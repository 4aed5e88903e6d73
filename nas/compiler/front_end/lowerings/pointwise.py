"""Lowerings of functions of one element: activations, batch norms, quantisers; and the tables of scalars and channels."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from nas.compiler.front_end.lowerings.builder import Look, NetworkBuilder, in_order
from nas.compiler.front_end.lowerings.frames import MAP_RANK, ROWS_RANK, as_map, from_map
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, Quantise, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.compiler.network import channel_count
from nas.ir.command import Activation, Eltwise, Tail
from nas.ir.tensor import FLOAT32, Format, container_bits

Lowering = Callable[[NetworkBuilder, Call], bool]
Floats = NDArray[np.float64]

_ALMOST_LINEAR = 20
_LARGEST = float(np.finfo(np.float32).max)


def everywhere(builder: NetworkBuilder, value: Value, output: Value, tail: Tail, layer: str) -> None:
    """Apply a tail that treats all elements alike to whatever is stored, and look at the result the same way."""
    look = builder.look(value, layer)
    tensor = builder.tensors[look.name]
    name = builder.apply(layer, Eltwise(tensor.format, tail), (look.name,), tensor.shape, tail.output)
    builder.bind_look(output, Look(name, look.split, look.order))


def scalar(builder: NetworkBuilder, value: Value, output: Value, factor: float, term: float, layer: str) -> None:
    """value * factor + term."""
    look = builder.look(value, layer)
    if len(value.shape) == MAP_RANK and look.in_order and math.prod(builder.tensors[look.name].shape[2:]) == 1:
        # A mean over channels has its places as channels, and a table has a column for every channel: a map again.
        look = in_order(builder.read(value, layer), value.shape[1:])
    tensor = builder.tensors[look.name]
    channels = channel_count(tensor.shape)
    table = builder.table(np.full(channels, factor), np.full(channels, term), f"{layer}.table")
    function = Eltwise(tensor.format, Tail(table=True))
    name = builder.apply(layer, function, (look.name, table), tensor.shape, function.tail.output)
    builder.bind_look(output, Look(name, look.split, look.order))


def times(builder: NetworkBuilder, source: str, factor: float, activation: Activation, layer: str) -> str:
    """factor * number of a stored map, and then an activation; the factor is one number, not a table of channels."""
    tensor = builder.tensors[source]
    number = torch.full((1, 1, 1), factor, device="cpu" if builder.known_values else "meta")
    constant = builder.constant(number, f"{layer}.factor")
    function = Eltwise(tensor.format, Tail(multiply=FLOAT32, activation=activation))
    return builder.apply(layer, function, (source, constant), tensor.shape, FLOAT32)


def per_channel(
    builder: NetworkBuilder, value: Value, output: Value, axis: int, table: tuple[Floats, Floats], layer: str
) -> None:
    """value * table[0] + table[1] along `axis`."""
    stored_table = builder.table(*table, f"{layer}.table")
    is_rows = len(value.shape) == ROWS_RANK
    source = builder.read(value, layer) if is_rows else as_map(builder, value, axis, layer)
    tensor = builder.tensors[source]
    function = Eltwise(tensor.format, Tail(table=True))
    name = builder.apply(layer, function, (source, stored_table), tensor.shape, function.tail.output)
    if is_rows:
        builder.bind(output, name)
    else:
        from_map(builder, output, axis, name)


def _batch_norm(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input running_mean running_var weight=None bias=None training=False momentum=0.1 eps=0.00001")
    if not isinstance(a.input, Value) or a.training or a.running_mean is None or len(a.input.shape) < ROWS_RANK:
        return False
    channels = a.running_mean.shape[0]
    if a.running_mean.device.type == "meta":
        scale, shift = np.ones(channels), np.zeros(channels)
    else:
        mean, variance = doubles(a.running_mean), doubles(a.running_var)
        gain = np.ones(channels) if a.weight is None else doubles(a.weight)
        offset = np.zeros(channels) if a.bias is None else doubles(a.bias)
        scale = gain / np.sqrt(variance + a.eps)
        shift = offset - mean * scale
    per_channel(builder, a.input, call.outputs[0], 1, (scale, shift), call.layer)
    return True


def doubles(tensor: torch.Tensor) -> Floats:
    """The numbers of a constant."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        tensor = tensor.double().cpu()
    numbers: Floats = tensor.detach().numpy().astype(np.float64)
    return numbers


def _activation(activation: Activation, low: float = 0.0, high: float = 0.0) -> Lowering:
    def lower(builder: NetworkBuilder, call: Call) -> bool:
        value = call.arguments[0] if call.arguments else call.keywords["input"]
        tail = Tail(activation=activation, low=low, high=high)
        everywhere(builder, value, call.outputs[0], tail, call.layer)
        return True

    return lower


def _clip(signature: str, low: str, high: str) -> Lowering:
    def lower(builder: NetworkBuilder, call: Call) -> bool:
        a = Arguments(call, signature)
        bounds = [getattr(a, low), getattr(a, high)]
        bounds = [-_LARGEST if bounds[0] is None else bounds[0], _LARGEST if bounds[1] is None else bounds[1]]
        if not all(isinstance(bound, int | float) for bound in bounds) or bounds[0] > bounds[1]:
            return False
        bounds = [min(max(float(bound), -_LARGEST), _LARGEST) for bound in bounds]
        tail = Tail(activation="clip", low=bounds[0], high=bounds[1])
        if bounds == [0.0, _LARGEST]:
            tail = Tail(activation="relu")
        everywhere(builder, a.input, call.outputs[0], tail, call.layer)
        return True

    return lower


def _leaky_relu(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input negative_slope=0.01 inplace=False")
    tail = Tail(activation="leaky_relu", low=float(a.negative_slope))
    everywhere(builder, a.input, call.outputs[0], tail, call.layer)
    return True


def _elu(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input alpha=1.0 inplace=False")
    everywhere(builder, a.input, call.outputs[0], Tail(activation="elu", low=float(a.alpha)), call.layer)
    return True


def _softplus(builder: NetworkBuilder, call: Call) -> bool:
    """Above any threshold of 20 and more it is x to the last digit."""
    a = Arguments(call, "input beta=1 threshold=20")
    if a.beta != 1 or a.threshold < _ALMOST_LINEAR:
        return False
    everywhere(builder, a.input, call.outputs[0], Tail(activation="softplus"), call.layer)
    return True


def _gelu(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input approximate='none'")
    if a.approximate not in ("none", "tanh"):
        return False
    tail = Tail(activation="gelu" if a.approximate == "none" else "gelu_tanh")
    everywhere(builder, a.input, call.outputs[0], tail, call.layer)
    return True


def _tanh(builder: NetworkBuilder, call: Call) -> bool:
    """2 * sigmoid(2 x) - 1."""
    value = call.arguments[0]
    doubled, squashed = builder.new_value(value.shape), builder.new_value(value.shape)
    scalar(builder, value, doubled, 2.0, 0.0, call.layer)
    everywhere(builder, doubled, squashed, Tail(activation="sigmoid"), call.layer)
    scalar(builder, squashed, call.outputs[0], 2.0, -1.0, call.layer)
    return True


def _quantise(builder: NetworkBuilder, call: Call) -> bool:
    quantise = call.function
    assert isinstance(quantise, Quantise)
    levels = 2**quantise.bits - 1
    form = Format(container_bits(quantise.bits), "code", quantise.scale, 1, -quantise.zero, levels)
    everywhere(builder, call.arguments[0], call.outputs[0], Tail(output=form), call.layer)
    return True


RELUS = [F.relu, F.relu_, *torch_functions("relu", "relu_", "Tensor.relu", "Tensor.relu_")]
BATCH_NORMS = [F.batch_norm, *torch_functions("batch_norm")]
HARD_TANHS = [F.hardtanh, F.hardtanh_]
_SIGMOID = torch_functions("sigmoid", "sigmoid_", "Tensor.sigmoid", "Tensor.sigmoid_", "special.expit")

_TABLE: list[tuple[Lowering, list[Any]]] = [
    (_batch_norm, BATCH_NORMS),
    (_quantise, [Quantise]),
    (_activation("relu"), RELUS),
    (_activation("clip", 0.0, 6.0), [F.relu6]),
    (_activation("sigmoid"), [F.sigmoid, *_SIGMOID]),
    (_activation("hard_sigmoid"), [F.hardsigmoid]),
    (_activation("hard_swish"), [F.hardswish]),
    (_activation("silu"), [F.silu]),
    (_activation("rsqrt"), torch_functions("rsqrt", "Tensor.rsqrt")),
    (_activation("exp"), torch_functions("exp", "Tensor.exp")),
    (_activation("reciprocal"), torch_functions("reciprocal", "Tensor.reciprocal")),
    (_activation("sqrt"), torch_functions("sqrt", "Tensor.sqrt")),
    (_activation("log"), torch_functions("log", "Tensor.log")),
    (_activation("abs"), torch_functions("abs", "Tensor.abs", "Tensor.__abs__")),
    (_activation("mish"), [F.mish]),
    (_softplus, [F.softplus]),
    (_elu, [F.elu, *torch_functions("nn.functional.elu_")]),
    (_gelu, [F.gelu]),
    (_leaky_relu, [F.leaky_relu, *torch_functions("nn.functional.leaky_relu_")]),
    (_tanh, [F.tanh, *torch_functions("tanh", "tanh_", "Tensor.tanh", "Tensor.tanh_")]),
    (_clip("input min_val=-1.0 max_val=1.0", "min_val", "max_val"), HARD_TANHS),
    (
        _clip("input min=None max=None", "min", "max"),
        torch_functions(
            "clamp",
            "clamp_",
            "clip",
            "Tensor.clamp",
            "Tensor.clamp_",
            "Tensor.clip",
            "Tensor.clip_",
            "clamp_min",
            "Tensor.clamp_min",
            "Tensor.clamp_min_",
        ),
    ),
]

LOWERINGS: dict[Any, Lowering] = {function: lowering for lowering, functions in _TABLE for function in functions}
