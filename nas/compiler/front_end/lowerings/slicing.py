"""Lowerings of functions that cut or join tensors along any axis but the batch: slices, chunks, concatenations."""

from collections.abc import Callable
from typing import Any

import torch

from nas.compiler.front_end.lowerings.arithmetic import with_constant
from nas.compiler.front_end.lowerings.builder import NetworkBuilder, replace_bits
from nas.compiler.front_end.lowerings.frames import axis_first, from_map
from nas.compiler.front_end.lowerings.pointwise import scalar
from nas.compiler.front_end.lowerings.shapes import Lowering, identity, reorder, reshape
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.ir.command import Eltwise, Tail
from nas.ir.program import Concat, View


def sliced(
    builder: NetworkBuilder, value: Value, axis: int, bounds: tuple[int, int], output: Value, layer: str
) -> None:
    """`output` is `value` from bounds[0] to bounds[1] along `axis`; it may have other axes of size 1."""
    look = axis_first(builder.look(value, layer), axis)
    length = bounds[1] - bounds[0]
    shape = (value.shape[0], length, *look.shape[1:])
    whole = (*value.shape[:axis], length, *value.shape[axis + 1 :])
    if bounds == (0, value.shape[axis]):
        builder.bind_look(output, builder.look(value, layer))
        return
    name = builder.view(layer, View(look.split, look.order, *bounds), look.name, shape)
    from_map(builder, Value(output.index, whole, output.dtype), axis, name)


def part_of(builder: NetworkBuilder, value: Value, axis: int, bounds: tuple[int, int], layer: str) -> Value:
    """A new value: `value` from bounds[0] to bounds[1] along `axis`."""
    part = builder.new_value(resized(value.shape, axis, bounds[1] - bounds[0]))
    sliced(builder, value, axis, bounds, part, layer)
    return part


def filled(builder: NetworkBuilder, beside: Value, axis: int, size: int, number: float, layer: str) -> Value:
    """So many places along `axis` of one number, as engines can join them to `beside`: 0 times a part of it, and that number."""
    made = builder.new_value(resized(beside.shape, axis, size))
    scalar(builder, part_of(builder, beside, axis, (0, size), layer), made, 0.0, number, layer)
    return made


def resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    """`shape` with so many places along `axis`."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def _chunks(signature: str) -> Lowering:
    def lower(builder: NetworkBuilder, call: Call) -> bool:
        a = Arguments(call, signature)
        axis = a.dim % len(a.input.shape)
        if axis == 0:
            return False
        start = 0
        for output in call.outputs:
            sliced(builder, a.input, axis, (start, start + output.shape[axis]), output, call.layer)
            start += output.shape[axis]
        return True

    return lower


def _unbind(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input dim=0")
    axis = a.dim % len(a.input.shape)
    if not _can_select(builder, a.input, axis):
        return False
    for index, output in enumerate(call.outputs):
        _select(builder, a.input, axis, index, output, call)
    return True


def _can_select(builder: NetworkBuilder, value: Value, axis: int) -> bool:
    """Whether places along an axis can be seen: it is not the batch, and not all that there is beside it."""
    turned = builder.turned(value)
    return len(value.shape) > 2 and (axis if turned is None else turned.order[axis]) != 0


def _select(builder: NetworkBuilder, value: Value, axis: int, index: int, output: Value, call: Call) -> None:
    """`output` is `value` at a place along an axis; `call` selects nothing else than such places."""
    turned = builder.turned(value)
    if turned is None:
        part = part_of(builder, value, axis, (index, index + 1), call.layer)
        reshape(builder, Call(torch.reshape, (part,), {}, (output,), call.layer))
        return
    selected = turned.order[axis]
    rest = [place - (place > selected) for place in turned.order if place != selected]
    base = turned.base
    chosen = builder.new_value((*base.shape[:selected], *base.shape[selected + 1 :]))
    _select(builder, base, selected, index, chosen, call)
    reorder(builder, chosen, rest, output, call)


def _narrow(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input dim start length")
    axis = a.dim % len(a.input.shape)
    if axis == 0 or not isinstance(a.start, int):
        return False
    start = a.start % a.input.shape[axis] if a.start < 0 else a.start
    sliced(builder, a.input, axis, (start, start + a.length), call.outputs[0], call.layer)
    return True


def _select_call(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input dim index")
    axis = a.dim % len(a.input.shape)
    if not isinstance(a.index, int) or not _can_select(builder, a.input, axis):
        return False
    _select(builder, a.input, axis, a.index % a.input.shape[axis], call.outputs[0], call)
    return True


def _getitem(builder: NetworkBuilder, call: Call) -> bool:
    """x[:, a:b, ..., i, c::d, None]: the whole batch, then slices, places, new axes; steps have to divide an axis."""
    value, output = call.arguments[0], call.outputs[0]
    index = call.arguments[1] if isinstance(call.arguments[1], tuple) else (call.arguments[1],)
    if type(index[0]) is int and len(index) == 1 and _can_select(builder, value, 0):
        _select(builder, value, 0, index[0] % value.shape[0], output, call)
        return True
    known = all(each is None or each is Ellipsis or isinstance(each, int | slice) for each in index)
    if not known or any(isinstance(each, bool) for each in index) or len(output.shape) < 2:
        return False
    used = sum(each is not None and each is not Ellipsis for each in index)
    place = index.index(Ellipsis) if Ellipsis in index else len(index)
    index = (*index[:place], *[slice(None)] * (len(value.shape) - used), *index[place + 1 :])
    index = tuple(each for each in index if each is not None)
    if not isinstance(index[0], slice) or index[0].indices(value.shape[0]) != (0, value.shape[0], 1):
        return False
    cuts: list[tuple[int, range]] = []
    for axis, each in enumerate(index):
        size = value.shape[axis]
        places = range(size)[each] if isinstance(each, slice) else range(each % size, each % size + 1)
        if not places or places.step < 1 or (places.step > 1 and len(places) * places.step != size):
            return False
        if places != range(size):
            cuts.append((axis, places))
    for axis, places in cuts:
        if places.step == 1:
            value = part_of(builder, value, axis, (places.start, places.stop), call.layer)
            continue
        part = builder.new_value(resized(value.shape, axis, len(places)))
        split = builder.new_value((*part.shape[: axis + 1], places.step, *part.shape[axis + 1 :]))
        reshape(builder, Call(torch.reshape, (value,), {}, (split,), call.layer))
        _select(builder, split, axis + 1, places.start, part, call)
        value = part
    return reshape(builder, Call(torch.reshape, (value,), {}, (output,), call.layer))


def _cat(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "tensors dim=0")
    values = [each for each in a.tensors if isinstance(each, Value)]
    axis = a.dim % len(a.tensors[0].shape)
    if axis == 0 or len({len(each.shape) for each in a.tensors}) > 1:
        return False
    if any(not _can_be_made(each, values[0], axis) for each in a.tensors if not isinstance(each, Value)):
        return False
    parts = [
        each if isinstance(each, Value) else _made_of(builder, values[0], each, axis, call.layer) for each in a.tensors
    ]
    concatenated(builder, parts, axis, call.outputs[0], call.layer)
    return True


def _can_be_made(constant: torch.Tensor, beside: Value, axis: int) -> bool:
    """Whether a constant is the same in all images, and no longer along `axis` than what it is joined to."""
    is_one = constant.shape[0] == 1 or constant.stride(0) == 0
    if not is_one and constant.device.type != "meta":
        is_one = bool((constant == constant[:1]).all())
    return is_one and constant.is_floating_point() and constant.shape[axis] <= beside.shape[axis]


def _made_of(builder: NetworkBuilder, beside: Value, constant: torch.Tensor, axis: int, layer: str) -> Value:
    """A constant as engines can join it to maps."""
    nothing = filled(builder, beside, axis, constant.shape[axis], 0.0, layer)
    made = builder.new_value(nothing.shape)
    with_constant(builder, nothing, made, "add", constant[:1], layer)
    return made


def _roll(builder: NetworkBuilder, call: Call) -> bool:
    """Along one axis after the other: the last places, then those before them."""
    a = Arguments(call, "input shifts dims=None")
    if a.dims is None or not isinstance(a.input, Value):
        return False
    shifts, dims = (each if isinstance(each, tuple) else (each,) for each in (a.shifts, a.dims))
    value, rank = a.input, len(a.input.shape)
    moves = [(axis % rank, shift % value.shape[axis]) for axis, shift in zip(dims, shifts, strict=True)]
    if any(axis == 0 for axis, _ in moves):
        return False
    for axis, shift in moves:
        if shift:
            size, rolled = value.shape[axis], builder.new_value(value.shape)
            ends = ((size - shift, size), (0, size - shift))
            parts = [part_of(builder, value, axis, bounds, call.layer) for bounds in ends]
            concatenated(builder, parts, axis, rolled, call.layer)
            value = rolled
    return identity(builder, Call(call.function, (value,), {}, call.outputs, call.layer))


def _stack(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "tensors dim=0")
    if not all(isinstance(value, Value) and len(value.shape) > 1 for value in a.tensors):
        return False
    axis = a.dim % len(call.outputs[0].shape)
    if axis == 0:
        return False
    parts = []
    for value in a.tensors:
        part = builder.new_value((*value.shape[:axis], 1, *value.shape[axis:]))
        reshape(builder, Call(torch.reshape, (value,), {}, (part,), call.layer))
        parts.append(part)
    concatenated(builder, parts, axis, call.outputs[0], call.layer)
    return True


def concatenated(builder: NetworkBuilder, values: list[Value], axis: int, output: Value, layer: str) -> None:
    names = []
    for value in values:
        look = axis_first(builder.look(value, layer), axis)
        names.append(builder.stored(look, (value.shape[0], *look.shape), layer))
    if len({builder.tensors[name].format for name in names}) > 1:
        names = [builder.as_float(name) for name in names]
    form = builder.tensors[names[0]].format
    if form.bits < 8 and len(builder.tensors[names[0]].shape) == 2:  # a part of a row has to start on a whole byte
        wide = replace_bits(form, 8)
        tail = Tail(output=wide)
        shapes = [builder.tensors[name].shape for name in names]
        names = [
            builder.apply(f"{layer}.bytes", Eltwise(form, tail), (name,), shape, wide)
            for name, shape in zip(names, shapes, strict=True)
        ]
        form = wide
    others = tuple(size for place, size in enumerate(output.shape) if place not in (0, axis))
    shape = (output.shape[0], output.shape[axis], *others)
    from_map(builder, output, axis, builder.apply(layer, Concat(), tuple(names), shape, form))


_TABLE: list[tuple[Callable[[NetworkBuilder, Call], bool], list[Any]]] = [
    (_chunks("input chunks dim=0"), torch_functions("chunk", "Tensor.chunk", "tensor_split", "Tensor.tensor_split")),
    (
        _chunks("input sizes dim=0"),
        [
            *torch_functions("split", "Tensor.split", "split_with_sizes", "Tensor.split_with_sizes"),
            torch.functional.split,
        ],
    ),
    (_unbind, torch_functions("unbind", "Tensor.unbind")),
    (_narrow, torch_functions("narrow", "Tensor.narrow")),
    (_select_call, torch_functions("select", "Tensor.select")),
    (_getitem, torch_functions("Tensor.__getitem__")),
    (_cat, torch_functions("cat", "concat", "concatenate")),
    (_stack, torch_functions("stack")),
    (_roll, torch_functions("roll", "Tensor.roll")),
]

LOWERINGS: dict[Any, Lowering] = {function: lowering for lowering, functions in _TABLE for function in functions}
