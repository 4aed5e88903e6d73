"""Lowerings of arithmetic: sums, differences, products and quotients of two tensors, or of a tensor and a constant.

A constant for each channel, or for all of them, goes into the tail's table; a whole constant becomes an operand of its own.
"""

import math
from typing import Any, Literal

import numpy as np
import torch

from nas.compiler.front_end.lowerings.builder import Look, NetworkBuilder
from nas.compiler.front_end.lowerings.frames import MAP_RANK, ROWS_RANK, as_map, from_map
from nas.compiler.front_end.lowerings.pointwise import Lowering, doubles, everywhere, per_channel, scalar
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, Codes, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.ir.command import Eltwise, Tail
from nas.ir.tensor import Format

Kind = Literal["multiply", "add"]


def _negative(builder: NetworkBuilder, call: Call) -> bool:
    scalar(builder, call.arguments[0], call.outputs[0], -1.0, 0.0, call.layer)
    return True


def _square(builder: NetworkBuilder, call: Call) -> bool:
    value = call.arguments[0]
    return _combine(builder, "multiply", value, value, call.outputs[0], call.layer)


def _power(builder: NetworkBuilder, call: Call) -> bool:
    return len(call.arguments) == 2 and _is_number(call.arguments[1], 2) and _square(builder, call)


def _sum(sign: float, swapped: bool = False) -> Lowering:
    """input + sign * alpha * other; with `swapped`, other + sign * alpha * input."""

    def lower(builder: NetworkBuilder, call: Call) -> bool:
        a = Arguments(call, "input other alpha=1")
        if not isinstance(a.alpha, int | float):
            return False
        left, right, gain, output = a.input, a.other, sign * float(a.alpha), call.outputs[0]
        if swapped:
            left, right = right, left
        if isinstance(left, Value) and isinstance(right, Value):
            if _whole_and_other(left, right) is None:
                return False
            if gain != 1.0:
                negated = builder.new_value(right.shape)
                scalar(builder, right, negated, gain, 0.0, call.layer)
                right = negated
            return _combine(builder, "add", left, right, output, call.layer)
        if isinstance(left, Value):
            return with_constant(builder, left, output, "add", _scaled(right, gain), call.layer)
        if gain != 1.0:
            if isinstance(left, int | float) or _is_single(left):
                scalar(builder, right, output, gain, float(left), call.layer)
                return True
            negated = builder.new_value(right.shape)
            scalar(builder, right, negated, gain, 0.0, call.layer)
            right = negated
        return with_constant(builder, right, output, "add", left, call.layer)

    return lower


def _product(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input other")
    output = call.outputs[0]
    if isinstance(a.input, Value) and isinstance(a.other, Value):
        return _combine(builder, "multiply", a.input, a.other, output, call.layer)
    value, constant = (a.input, a.other) if isinstance(a.input, Value) else (a.other, a.input)
    return with_constant(builder, value, output, "multiply", constant, call.layer)


def _quotient(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input other rounding_mode=None")
    if not isinstance(a.input, Value) or a.rounding_mode is not None:
        return False
    if isinstance(a.other, Value):
        if _whole_and_other(a.input, a.other) is None:
            return False
        inverse = builder.new_value(a.other.shape)
        everywhere(builder, a.other, inverse, Tail(activation="reciprocal"), call.layer)
        return _combine(builder, "multiply", a.input, inverse, call.outputs[0], call.layer)
    if isinstance(a.other, int | float):
        if a.other == 0:
            return False
        return with_constant(builder, a.input, call.outputs[0], "multiply", 1.0 / a.other, call.layer)
    if not isinstance(a.other, torch.Tensor) or (a.other.device.type != "meta" and bool((a.other == 0).any())):
        return False
    return with_constant(builder, a.input, call.outputs[0], "multiply", 1.0 / a.other.double(), call.layer)


def _scaled(constant: Any, gain: float) -> Any:
    return constant if gain == 1.0 or isinstance(constant, Codes) else constant * gain


def _is_number(value: Any, number: float) -> bool:
    return isinstance(value, int | float) and value == number


def _is_single(constant: Any) -> bool:
    return isinstance(constant, torch.Tensor) and constant.numel() == 1 and constant.device.type != "meta"


def with_constant(builder: NetworkBuilder, value: Value, output: Value, kind: Kind, constant: Any, layer: str) -> bool:
    """value * constant or value + constant; the constant may spread over any axes."""
    if output.shape != value.shape or not value.shape:
        return False
    if isinstance(constant, int | float):
        if not math.isfinite(constant):
            return False
        factor, term = (constant, 0.0) if kind == "multiply" else (1.0, constant)
        scalar(builder, value, output, float(factor), float(term), layer)
        return True
    if not isinstance(constant, torch.Tensor) or constant.is_complex() or constant.dim() > len(value.shape):
        return False
    shape = (1,) * (len(value.shape) - constant.dim()) + tuple(constant.shape)
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if wide and wide[0] == 0:
        return False
    numbers = np.zeros(constant.numel()) if constant.device.type == "meta" else doubles(constant).reshape(-1)
    if len(wide) <= 1:
        axis = wide[0] if wide else 1 if len(value.shape) > 1 else 0
        if axis == 0:
            return False
        numbers = np.broadcast_to(numbers, (value.shape[axis],))
        table = (numbers, 0.0 * numbers) if kind == "multiply" else (np.ones_like(numbers), numbers)
        per_channel(builder, value, output, axis, table, layer)
        return True
    _with_map(builder, value, output, kind, constant.detach().float().reshape(shape[1:]), layer)
    return True


def _with_map(
    builder: NetworkBuilder, value: Value, output: Value, kind: Kind, constant: torch.Tensor, layer: str
) -> None:
    """`constant` is of the rank of one image, and may spread over any of its axes."""
    axis, look = len(value.shape) - 1, builder.look(value, layer)
    if look.in_order:
        if len(value.shape) > MAP_RANK:  # several axes of channels are one to an engine
            constant = constant.expand(value.shape[1:])
        *channels, rows, columns = constant.shape
        operand = builder.constant(constant, f"{layer}.{kind}", (math.prod(channels), rows, columns))
        *channels, rows, columns = value.shape[1:]
        source = builder.stored(look, (value.shape[0], math.prod(channels), rows, columns), layer)
    else:
        constant = constant.expand(value.shape[1:]).movedim(-1, 0)
        source = as_map(builder, value, axis, layer)
        operand = builder.constant(constant, f"{layer}.{kind}", builder.tensors[source].shape[1:])
    tensor = builder.tensors[source]
    tail = _tail(kind, builder.tensors[operand].format)
    name = builder.apply(layer, Eltwise(tensor.format, tail), (source, operand), tensor.shape, tail.output)
    if look.in_order:
        builder.bind_as(output, name)
    else:
        from_map(builder, output, axis, name)


def _tail(kind: Kind, form: Format) -> Tail:
    return Tail(multiply=form) if kind == "multiply" else Tail(add=form)


def _whole_and_other(left: Value, right: Value) -> tuple[Value, Value] | None:
    """The two operands, the whole one first; None where neither has the shape of the result."""
    for whole, other in ((left, right), (right, left)):
        if len(whole.shape) < ROWS_RANK or len(whole.shape) != len(other.shape) or whole.shape[0] != other.shape[0]:
            continue
        if all(size in (1, full) for size, full in zip(other.shape, whole.shape, strict=True)):
            # Axes of channels are one to an engine: they are all spread, or none is.
            inner = list(zip(other.shape[1:-2], whole.shape[1:-2], strict=True)) if len(whole.shape) > 4 else []
            if all(size == full for size, full in inner) or all(size == 1 for size, _ in inner):
                return whole, other
    return None


def _combine(builder: NetworkBuilder, kind: Kind, left: Value, right: Value, output: Value, layer: str) -> bool:
    """left * right or left + right, element by element; one of them may be spread over some axes of the other."""
    operands = _whole_and_other(left, right)
    if operands is None:
        return False
    whole, other = (builder.look(value, layer) for value in operands)
    same = (whole.split, whole.order) == (other.split, other.order)
    if same and builder.tensors[whole.name].shape == builder.tensors[other.name].shape:
        names, look = (whole.name, other.name), whole
    else:
        names = (builder.read(operands[0], layer), builder.read(operands[1], layer))
        look = builder.look(operands[0], layer)
    source = builder.tensors[names[0]]
    tail = _tail(kind, builder.tensors[names[1]].format)
    name = builder.apply(layer, Eltwise(source.format, tail), names, source.shape, tail.output)
    builder.bind_look(output, Look(name, look.split, look.order))
    return True


_TABLE: list[tuple[Lowering, list[Any]]] = [
    (
        _sum(1.0),
        torch_functions("add", "Tensor.add", "Tensor.add_", "Tensor.__add__", "Tensor.__iadd__", "Tensor.__radd__"),
    ),
    (
        _sum(-1.0),
        torch_functions("sub", "subtract", "Tensor.sub", "Tensor.sub_", "Tensor.__sub__", "Tensor.__isub__"),
    ),
    (_sum(-1.0, swapped=True), torch_functions("rsub", "Tensor.__rsub__")),
    (
        _product,
        torch_functions(
            "mul",
            "multiply",
            "Tensor.mul",
            "Tensor.mul_",
            "Tensor.multiply",
            "Tensor.__mul__",
            "Tensor.__imul__",
            "Tensor.__rmul__",
        ),
    ),
    (
        _quotient,
        torch_functions(
            "div", "true_divide", "Tensor.div", "Tensor.div_", "Tensor.__div__", "Tensor.__truediv__", "Tensor.__idiv__"
        )
        + torch_functions("Tensor.__itruediv__", "Tensor.true_divide"),
    ),
    (_negative, torch_functions("neg", "negative", "Tensor.neg", "Tensor.neg_", "Tensor.__neg__")),
    (_square, torch_functions("square", "Tensor.square")),
    (_power, torch_functions("pow", "Tensor.pow", "Tensor.__pow__")),
]

LOWERINGS: dict[Any, Lowering] = {function: lowering for lowering, functions in _TABLE for function in functions}
