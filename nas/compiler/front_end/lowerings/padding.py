"""Lowerings of constants around a tensor: zeros around a map cost nothing before a convolution; others are joined to it."""

from dataclasses import replace

import torch.nn.functional as F

from nas.compiler.front_end.lowerings.builder import NetworkBuilder
from nas.compiler.front_end.lowerings.frames import MAP_RANK
from nas.compiler.front_end.lowerings.layers import CONVOLUTIONS
from nas.compiler.front_end.lowerings.pointwise import Lowering
from nas.compiler.front_end.lowerings.shapes import identity
from nas.compiler.front_end.lowerings.slicing import concatenated, filled, resized
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments

Sides = tuple[int, int]

_TAKE_ZEROS = frozenset((*CONVOLUTIONS, F.pad))


def _pad(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input pad mode=None value=None")
    if not any(a.pad):
        return identity(builder, call)
    if not isinstance(a.input, Value) or a.mode not in (None, "constant"):
        return False
    rank, number = len(a.input.shape), float(a.value or 0)
    # From the last axis on, as torch tells them.
    sides = {rank - 1 - place: (int(a.pad[2 * place]), int(a.pad[2 * place + 1])) for place in range(len(a.pad) // 2)}
    sides = {axis: each for axis, each in sides.items() if any(each)}
    if min(min(each) for each in sides.values()) < 0 or 0 in sides:
        return False
    if number == 0 and rank == MAP_RANK and min(sides) >= rank - 2 and builder.is_for(call.outputs[0], _TAKE_ZEROS):
        (top, bottom), (left, right) = (sides.get(rank - 2, (0, 0)), sides.get(rank - 1, (0, 0)))
        look = builder.padded_look(a.input)
        zeros = (look.zeros[0] + top, look.zeros[1] + left, look.zeros[2] + bottom, look.zeros[3] + right)
        builder.bind_look(call.outputs[0], replace(look, zeros=zeros))
        return True
    if any(max(each) > a.input.shape[axis] for axis, each in sides.items()):
        return False
    value = a.input
    for axis, each in sides.items():
        value = _joined(builder, value, axis, each, number, call.layer)
    return identity(builder, Call(call.function, (value,), {}, call.outputs, call.layer))


def _joined(builder: NetworkBuilder, value: Value, axis: int, sides: Sides, number: float, layer: str) -> Value:
    """`value` between so many places of a number."""
    before, behind = ([filled(builder, value, axis, size, number, layer)] if size else [] for size in sides)
    result = builder.new_value(resized(value.shape, axis, value.shape[axis] + sum(sides)))
    concatenated(builder, [*before, value, *behind], axis, result, layer)
    return result


LOWERINGS: dict[object, Lowering] = {F.pad: _pad}
