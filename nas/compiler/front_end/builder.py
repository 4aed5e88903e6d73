"""Collects operators, tensors and constants while the calls of a trace are lowered one by one.

A call may leave its result as a `Look`: another shape or order of axes of a stored tensor, at no cost. It becomes an
operator of its own only when something reads it that cannot look at it so.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nas.compiler.front_end.trace import Codes, TracedForward, Value
from nas.compiler.network import Network, pack
from nas.ir.command import Eltwise
from nas.ir.program import Function, Operator, View
from nas.ir.tensor import FLOAT32, Format, Tensor, container_bits


@dataclass(frozen=True)
class Look:
    """A stored tensor seen as (batch, *split) with the axes behind the batch in `order`."""

    name: str
    split: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.split[axis] for axis in self.order)

    @property
    def in_order(self) -> bool:
        return self.order == tuple(range(len(self.order)))


class NetworkBuilder:
    """Grows a `Network`; every method that adds something returns the name of the tensor that it made."""

    def __init__(self, name: str, known_values: bool) -> None:
        self._name = name
        self._known_values = known_values
        self.operators: list[Operator] = []
        self.tensors: dict[str, Tensor] = {}
        self.constants: dict[str, NDArray[np.uint8]] = {}
        self._looks: dict[int, Look] = {}
        self._constant_names: dict[tuple[int, str], str] = {}
        self._kept: list[object] = []

    def network(self, forward: TracedForward, inputs: tuple[str, ...]) -> Network:
        """What has been collected, with the outputs of `forward`."""
        outputs = []
        for value in forward.outputs:
            name = self.as_float(self.read(value))
            if name in inputs or name in outputs:
                name = self.apply(
                    "output",
                    View(self.tensors[name].shape[1:], _identity(name, self.tensors)),
                    (name,),
                    self.tensors[name].shape,
                    FLOAT32,
                )
            tensor = self.tensors[name]
            self.tensors[name] = Tensor(tensor.name, tensor.shape, tensor.format, "output")
            outputs.append(name)
        return Network(self._name, tuple(self.operators), self.tensors, inputs, tuple(outputs), self.constants)

    def input(self, value: Value, name: str) -> str:
        self.tensors[name] = Tensor(name, value.shape, FLOAT32, "input")
        self.bind(value, name)
        return name

    def bind(self, value: Value, name: str) -> None:
        """From here on `value` is the stored tensor `name`."""
        shape = self.tensors[name].shape[1:]
        self._looks[value.index] = Look(name, shape, tuple(range(len(shape))))

    def bind_look(self, value: Value, look: Look) -> None:
        self._looks[value.index] = look

    def look(self, value: Value) -> Look:
        return self._looks[value.index]

    def read(self, value: Value, layer: str = "") -> str:
        """The stored tensor that holds exactly `value`, made now if it has only been looked at so far."""
        look = self._looks[value.index]
        stored = self.tensors[look.name]
        if look.in_order and stored.shape[1:] == value.shape[1:]:
            return look.name
        place = f"{layer or look.name}.view"
        name = self.apply(place, View(look.split, look.order), (look.name,), value.shape, stored.format)
        self.bind(value, name)
        return name

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
        names = [self._unique(layer) for _ in shapes]
        self.tensors.update({name: Tensor(name, shape) for name, shape in zip(names, shapes, strict=True)})
        self.operators.append(Operator(layer, function, inputs, tuple(names)))
        return names

    def as_float(self, name: str) -> str:
        """A float32 tensor with the numbers of `name`."""
        tensor = self.tensors[name]
        if tensor.format == FLOAT32:
            return name
        return self.apply(f"{name}.decode", Eltwise(tensor.format), (name,), tensor.shape, FLOAT32)

    def constant(self, value: torch.Tensor | Codes, name: str) -> str:
        """A weight, as float32 or as packed codes; the same tensor is stored once."""
        key = (id(value.codes if isinstance(value, Codes) else value), "codes" if isinstance(value, Codes) else "float")
        if key in self._constant_names:
            return self._constant_names[key]
        form = FLOAT32
        if isinstance(value, Codes):
            levels = 2**value.bits - 1
            form = Format(container_bits(value.bits), "code", value.scale, value.multiplier, value.offset, levels)
        source = value.codes if isinstance(value, Codes) else value
        self._kept.append(source)
        stored = self._unique(name)
        self.tensors[stored] = Tensor(stored, tuple(source.shape), form, "constant")
        if source.device.type != "meta":
            array = source.detach().cpu().numpy()
            self.constants[stored] = pack(array if form.is_code else array.astype(np.float32, copy=False), form.bits)
        self._constant_names[key] = stored
        return stored

    def table(self, scale: NDArray[np.float64], shift: NDArray[np.float64], name: str) -> str:
        """A tail's table of (2, channels) float32."""
        stored = self._unique(name)
        values = np.stack([scale, shift]).astype(np.float32)
        self.tensors[stored] = Tensor(stored, values.shape, FLOAT32, "constant")
        if self._known_values:
            self.constants[stored] = pack(values, 32)
        return stored

    def _unique(self, name: str) -> str:
        candidate, count = name or "network", 1
        while candidate in self.tensors:
            count += 1
            candidate = f"{name}#{count}"
        return candidate


def _identity(name: str, tensors: dict[str, Tensor]) -> tuple[int, ...]:
    return tuple(range(len(tensors[name].shape) - 1))
