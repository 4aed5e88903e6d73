"""Collects operators, tensors and constants while the calls of a trace are lowered one by one.

A call may leave its result as a `Look`: another shape or order of axes of a stored tensor, or zeros around it, at no
cost. It becomes an operator of its own only when something reads it that cannot look at it so.
"""

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nas.compiler.front_end.tracing.calls import Call, Codes, TracedForward, Value
from nas.compiler.front_end.tracing.needed import readers_of
from nas.compiler.network import Network, is_reserved, pack, unused_name
from nas.compiler.regions import image_of, whole
from nas.compiler.views import view_boxes
from nas.ir.command import Eltwise, Host, Tail
from nas.ir.program import Function, Operator, View
from nas.ir.tensor import FLOAT32, Format, Tensor, container_bits

NO_ZEROS = (0, 0, 0, 0)


@dataclass(frozen=True)
class Look:
    """A stored tensor seen as (batch, *split) with the axes behind the batch in `order`.

    zeros: rows and columns of zeros around the last two axes, as (top, left, bottom, right).
    """

    name: str
    split: tuple[int, ...]
    order: tuple[int, ...]
    zeros: tuple[int, int, int, int] = NO_ZEROS

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape behind the batch, without the zeros."""
        return tuple(self.split[axis] for axis in self.order)

    @property
    def in_order(self) -> bool:
        return self.order == tuple(range(len(self.order)))

    def permuted(self, order: Sequence[int]) -> "Look":
        """The axes of the look (those behind the batch, from 0) in another order."""
        return replace(self, order=tuple(self.order[axis] for axis in order))


@dataclass(frozen=True)
class Turned:
    """A value whose batch is not its first axis: the axes of `base`, whose batch is, in `order`. make: binds it to a tensor, for
    a reader that wants it as it is.
    """

    base: Value
    order: tuple[int, ...]
    make: Callable[[], None]


def in_order(name: str, shape: tuple[int, ...]) -> Look:
    """A stored tensor seen in `shape` behind the batch, with its elements in their order."""
    return Look(name, shape, tuple(range(len(shape))))


class NetworkBuilder:
    """Grows a `Network`; every method that adds something returns the name of the tensor that it made.

    known_values: whether constants have numbers; those on the meta device have none. calls: all that are to be lowered.
    structure: the constants among all that are no weights.
    """

    def __init__(self, name: str, known_values: bool, calls: Sequence[Call] = ()) -> None:
        self._name = name
        self._readers = readers_of(calls)
        self.known_values = known_values
        self.operators: list[Operator] = []
        self.tensors: dict[str, Tensor] = {}
        self.constants: dict[str, NDArray[np.uint8]] = {}
        self._looks: dict[int, Look] = {}
        self._turned: dict[int, Turned] = {}
        self._constant_names: dict[tuple[int, tuple[int, ...]], str] = {}
        self._tables: dict[tuple[bytes, tuple[int, ...]], str] = {}
        self._kept: list[object] = []
        self._structural: set[int] = set()
        self.structure: dict[str, NDArray[np.uint8]] = {}
        self._made = 0
        self._meanings: dict[int, dict[str, None]] = {}
        self._renamed: dict[str, str] = {}

    def network(self, forward: TracedForward, inputs: tuple[str, ...]) -> Network:
        """What has been collected, with the outputs of `forward`."""
        outputs: list[str] = []
        for value in forward.outputs:
            name = self.as_float(self.read(value))
            if name in inputs or name in outputs:
                shape = self.tensors[name].shape
                name = self.apply("output", View(shape[1:], tuple(range(len(shape) - 1))), (name,), shape, FLOAT32)
            tensor = self.tensors[name]
            self.tensors[name] = Tensor(tensor.name, tensor.shape, tensor.format, "output")
            outputs.append(name)
        network = Network(self._name, tuple(self.operators), self.tensors, inputs, tuple(outputs), self.constants)
        given: list[str] = []
        for name in forward.output_names:
            given.append(unused_name(name, (*inputs, *given)))  # a result may be called as an argument
        wanted = zip(outputs, given, strict=False)
        self._renamed = new_names(network, {old: new for old, new in wanted if old != new and not is_reserved(new)})
        return renamed(network, self._renamed)

    def input(self, value: Value, name: str) -> str:
        name = self._unique(name)
        self.tensors[name] = Tensor(name, value.shape, FLOAT32, "input")
        self.bind(value, name)
        return name

    def new_value(self, shape: tuple[int, ...]) -> Value:
        """A float value of no call, for the steps of a lowering."""
        self._made += 1
        return Value(-self._made, shape, torch.float32)

    def bind(self, value: Value, name: str) -> None:
        """From here on `value` is the stored tensor `name`, seen as it is stored."""
        self.bind_look(value, in_order(name, self.tensors[name].shape[1:]))

    def bind_as(self, value: Value, name: str) -> None:
        """From here on `value` is the stored tensor `name`, which has its elements in their order."""
        self.bind_look(value, in_order(name, value.shape[1:]))

    def bind_look(self, value: Value, look: Look) -> None:
        """From here on `value` is what `look` shows: all the elements of a stored tensor."""
        self._looks[value.index] = look
        self._meanings.setdefault(value.index, {})[look.name] = None

    def turn(self, value: Value, turned: Turned) -> None:
        """From here on `value` is `turned`, which nothing is done for until it is read."""
        self._turned[value.index] = turned

    def turned(self, value: Value) -> Turned | None:
        """How `value` is turned, if its batch is not its first axis."""
        return self._turned.get(value.index)

    def within(self, value: Value, whole: Value) -> None:
        """No number of `value` lies outside those of `whole`: what is observed of that holds for the tensor of `value`."""
        self._meanings.setdefault(whole.index, {})[self._looks[value.index].name] = None

    def is_for(self, value: Value, functions: Container[object]) -> bool:
        """Whether only such functions read `value`, and there are any."""
        readers = self._readers.get(value.index, [])
        return bool(readers) and all(reader.function in functions for reader in readers)

    def meanings(self) -> dict[int, tuple[str, ...]]:
        """For every traced value the tensors that hold its numbers, under the names that `network` has given them."""
        return {
            index: tuple(self._renamed.get(name, name) for name in names)
            for index, names in self._meanings.items()
            if index >= 0
        }

    def look(self, value: Value, layer: str = "") -> Look:
        """How `value` is seen, with zeros made real."""
        self._make(value)
        if self._looks[value.index].zeros != NO_ZEROS:
            self._pad(value, layer)
        return self._looks[value.index]

    def padded_look(self, value: Value) -> Look:
        """How `value` is seen, for a reader that can put zeros around it by itself."""
        self._make(value)
        return self._looks[value.index]

    def read(self, value: Value, layer: str = "") -> str:
        """The stored tensor that holds exactly `value`, made now if it has only been looked at so far."""
        name = self.stored(self.look(value, layer), stored_shape(value.shape), layer)
        self.bind(value, name)
        return name

    def stored(self, look: Look, shape: tuple[int, ...], layer: str = "") -> str:
        """A stored tensor of `shape` (batch first) with the elements of `look` in their order."""
        if look.in_order and self.tensors[look.name].shape == shape:
            return look.name
        return self.view(layer or look.name, View(look.split, look.order), look.name, shape)

    def view(self, layer: str, view: View, source: str, shape: tuple[int, ...]) -> str:
        """What `view` shows of `source`, as a stored tensor.

        Codes get a whole byte each where rows can't be split, or lie along another axis, so that a tile could begin within a byte.
        """
        tensor = self.tensors[source]
        if tensor.format.is_code and tensor.format.bits < 8:
            target = Tensor("", shape, tensor.format)
            places = [image_of(whole(each, "dram", 0), 0) for each in (tensor, target)]
            is_turned = view.order[-1] != len(view.order) - 1 or shape[-1] == 1 < tensor.shape[-1]
            if is_turned or view_boxes(view, places[0], places[1]) is None:
                bytewise = replace_bits(tensor.format, 8)
                source = self.apply(
                    f"{layer}.bytes", Eltwise(tensor.format, Tail(output=bytewise)), (source,), tensor.shape, bytewise
                )
        return self.apply(f"{layer}.view", view, (source,), shape, self.tensors[source].format)

    def _make(self, value: Value) -> None:
        if value.index in self._turned and value.index not in self._looks:
            self._turned[value.index].make()

    def _pad(self, value: Value, layer: str) -> None:
        look = self._looks[value.index]
        top, left, bottom, right = look.zeros
        inner = (*value.shape[:-2], value.shape[-2] - top - bottom, value.shape[-1] - left - right)
        source = self.as_float(self.stored(replace(look, zeros=NO_ZEROS), inner, layer))
        arguments = json.dumps([[{"tensor": 0}, [left, right, top, bottom]], {}])
        function = Host("torch.nn.functional.pad", arguments)
        self.bind(value, self.apply(layer or "pad", function, (source,), value.shape, FLOAT32))

    def apply(
        self, layer: str, function: Function, inputs: tuple[str, ...], shape: tuple[int, ...], form: Format
    ) -> str:
        """Add an operator with one output."""
        name = self._unique(layer)
        self.tensors[name] = Tensor(name, shape, form)
        self.operators.append(Operator(layer, function, inputs, (name,)))
        return name

    def apply_many(
        self, layer: str, function: Function, inputs: tuple[str, ...], shapes: list[tuple[int, ...]]
    ) -> list[str]:
        """Add an operator with several float outputs."""
        names = []
        for shape in shapes:
            name = self._unique(layer)
            self.tensors[name] = Tensor(name, shape)
            names.append(name)
        self.operators.append(Operator(layer, function, inputs, tuple(names)))
        return names

    def as_float(self, name: str) -> str:
        """A float32 tensor with the numbers of `name`."""
        tensor = self.tensors[name]
        if tensor.format == FLOAT32:
            return name
        return self.apply(f"{name}.decode", Eltwise(tensor.format), (name,), tensor.shape, FLOAT32)

    def constant(self, value: torch.Tensor | Codes, name: str, shape: tuple[int, ...] | None = None) -> str:
        """A weight, as float32 or as packed codes, seen as `shape`; the same tensor is stored once."""
        shape = stored_shape(tuple(value.shape)) if shape is None else shape
        key = (id(value.codes if isinstance(value, Codes) else value), shape)
        if key in self._constant_names:
            return self._constant_names[key]
        form = FLOAT32
        if isinstance(value, Codes):
            levels = 2**value.bits - 1
            form = Format(container_bits(value.bits), "code", value.scale, value.multiplier, value.offset, levels)
        source = value.codes if isinstance(value, Codes) else value
        self._kept.append(source)
        stored = self._unique(name)
        self.tensors[stored] = Tensor(stored, shape, form, "constant")
        if source.device.type != "meta":
            known = source.detach().float() if source.dtype == torch.bfloat16 else source.detach()
            array = known.cpu().numpy().reshape(shape)
            self.constants[stored] = pack(array if form.is_code else array.astype(np.float32, copy=False), form.bits)
            if id(source) in self._structural:
                self.structure[stored] = self.constants[stored]
        self._constant_names[key] = stored
        return stored

    def structural(self, matrix: torch.Tensor) -> torch.Tensor:
        """A constant whose numbers are the function's own, and no weights: they count even where only the price is asked for."""
        self._kept.append(matrix)
        self._structural.add(id(matrix))
        return matrix

    def table(self, scale: NDArray[np.float64], shift: NDArray[np.float64], name: str) -> str:
        """A tail's table of (2, channels) float32."""
        values = np.stack([scale, shift]).astype(np.float32)
        content = (values.tobytes(), values.shape)
        if self.known_values and content in self._tables:
            return self._tables[content]
        stored = self._tables[content] = self._unique(name)
        self.tensors[stored] = Tensor(stored, values.shape, FLOAT32, "constant")
        if self.known_values:
            self.constants[stored] = pack(values, 32)
        return stored

    def _unique(self, name: str) -> str:
        return unused_name(f"{name}.result" if is_reserved(name) else name or "network", self.tensors)


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A single number is stored as one element of one axis."""
    return shape or (1,)


def replace_bits(form: Format, bits: int) -> Format:
    """The same codes in wider elements."""
    return Format(bits, form.kind, form.scale, form.multiplier, form.offset, form.levels)


def new_names(network: Network, names: dict[str, str]) -> dict[str, str]:
    """`names` (old to new), and another name for every tensor that has one of the new ones already."""
    wanted, complete = set(names.values()), dict(names)
    for name in network.tensors:
        if name in wanted and name not in names:
            complete[name] = unused_name(name, {*network.tensors, *complete.values()})
    return complete


def renamed(network: Network, names: dict[str, str]) -> Network:
    """The network with other names (old to new) for some tensors."""
    if not names:
        return network

    def of(listed: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in listed)

    return Network(
        network.name,
        tuple(Operator(each.layer, each.function, of(each.inputs), of(each.outputs)) for each in network.operators),
        {
            names.get(name, name): Tensor(names.get(name, name), tensor.shape, tensor.format, tensor.role)
            for name, tensor in network.tensors.items()
        },
        of(network.inputs),
        of(network.outputs),
        {names.get(name, name): stored for name, stored in network.constants.items()},
    )
