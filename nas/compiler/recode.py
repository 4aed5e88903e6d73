"""A network of floats -> the same network on 8-bit integers, or on bfloat16: other formats for what lies in memory.

int8: weights are symmetric codes -127..127 with one scale for each output channel, which goes into the tail's table;
activations are affine 8-bit codes over an observed range that holds 0, which is a code exactly (Jacob et al., arXiv
1712.05877). Products are summed in integers. bfloat16: weights and activations are rounded, the rest stays as it is.

Every tensor that is stored gets a format of its own, so operators should be fused before: what a tail hands on within a
command is never rounded. Inputs, outputs, what the host reads and writes, tables and constant maps stay float32; so does
what has no observed range.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.compiler.network import Bytes, Network, pack, unused_name
from nas.compiler.tiling import roles
from nas.ir.command import Conv, Eltwise, Host, Matmul, Pool, Tail
from nas.ir.program import Concat, Function, Operator, View
from nas.ir.tensor import FLOAT32, Format, Tensor

Range = tuple[float, float]

_BFLOAT16 = Format(16)
_LEVELS = 255
_LARGEST_WEIGHT = 127
_WEIGHTS = Format(8, "code", 1.0, 1, -128, _LEVELS)


@dataclass(frozen=True)
class _Weights:
    """A weight in its new format; gains: what the sums of each output are still to be multiplied by, if anything."""

    form: Format
    stored: Bytes | None
    gains: NDArray[np.float64] | None


def quantised(network: Network, observed: Mapping[str, Range]) -> Network:
    """The network on 8-bit integers. observed: (lowest, highest) number of each tensor by name."""

    def form_of(names: list[str]) -> Format:
        known = [observed[name] for name in names if name in observed]
        return activation_format((min(low for low, _ in known), max(high for _, high in known))) if known else FLOAT32

    return _Recoding(network, form_of, _int8_weights).result()


def as_bfloat16(network: Network) -> Network:
    """The network with weights and activations in bfloat16."""
    return _Recoding(network, lambda _: _BFLOAT16, _bfloat16_weights).result()


def activation_format(observed: Range) -> Format:
    """Affine 8-bit codes that cover a range and hold 0 exactly."""
    low, high = min(observed[0], 0.0), max(observed[1], 0.0)
    scale = (high - low) / _LEVELS if high > low else 1.0
    return Format(8, "code", scale, 1, -min(max(round(-low / scale), 0), _LEVELS), _LEVELS)


def float_tensors(network: Network) -> tuple[str, ...]:
    """The tensors that are stored as float32, but for tables: what `quantised` had to leave."""
    tables = {
        name
        for operator in network.operators
        if isinstance(operator.function, Conv | Matmul | Eltwise)
        for role, name in zip(roles(operator.function), operator.inputs, strict=True)
        if role == "table"
    }
    return tuple(name for name, tensor in network.tensors.items() if tensor.format == FLOAT32 and name not in tables)


def _int8_weights(tensor: Tensor, stored: Bytes | None) -> _Weights:
    if stored is None:
        return _Weights(_WEIGHTS, None, np.ones(tensor.shape[0]))
    numbers = stored.view(np.float32).reshape(tensor.shape[0], -1).astype(np.float64)
    gains = np.abs(numbers).max(1) / _LARGEST_WEIGHT
    gains[gains == 0] = 1.0
    codes = np.rint(numbers / gains[:, None]) - _WEIGHTS.offset
    return _Weights(_WEIGHTS, pack(codes.astype(np.uint8).reshape(tensor.shape), 8), gains)


def _bfloat16_weights(tensor: Tensor, stored: Bytes | None) -> _Weights:
    del tensor
    if stored is None:
        return _Weights(_BFLOAT16, None, None)
    bits = stored.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return _Weights(_BFLOAT16, rounded.astype(np.uint16).view(np.uint8), None)


class _Recoding:
    """One walk over the operators. `_stand_ins`: the recoded copy of a tensor that has to stay float32 itself."""

    def __init__(
        self,
        network: Network,
        form_of: Callable[[list[str]], Format],
        recode: Callable[[Tensor, Bytes | None], _Weights],
    ) -> None:
        self.network, self.recode = network, recode
        self.tensors, self.constants = dict(network.tensors), dict(network.constants)
        self.operators: list[Operator] = []
        self._stays = set(network.inputs) | set(network.outputs)
        for operator in network.operators:
            if isinstance(operator.function, Host):
                self._stays.update(operator.outputs)
        self._forms = self._shared_formats(form_of)
        self._copies: dict[tuple[str, Format], str] = {}
        self._weights: dict[str, tuple[str, _Weights]] = {}

    def result(self) -> Network:
        for operator in self.network.operators:
            if isinstance(operator.function, Host):
                inputs = tuple(self._as(name, FLOAT32, operator.layer) for name in operator.inputs)
                self.operators.append(msgspec.structs.replace(operator, inputs=inputs))
            elif isinstance(operator.function, View | Concat):
                self._keep_format(operator, operator.function)
            else:
                self._compute(operator, operator.function)
        used = {name for operator in self.operators for name in (*operator.inputs, *operator.outputs)}
        used.update(self.network.inputs, self.network.outputs)
        return Network(
            self.network.name,
            tuple(self.operators),
            {name: tensor for name, tensor in self.tensors.items() if name in used},
            self.network.inputs,
            self.network.outputs,
            {name: stored for name, stored in self.constants.items() if name in used},
        )

    def _shared_formats(self, form_of: Callable[[list[str]], Format]) -> dict[str, Format]:
        """The format of every float32 tensor (or of its recoded copy); views, concats and maxima keep that of their input."""
        leader: dict[str, str] = {}

        def find(name: str) -> str:
            while leader.setdefault(name, name) != name:
                name = leader[name]
            return name

        for operator in self.network.operators:
            function = operator.function
            if isinstance(function, View | Concat) or (isinstance(function, Pool) and function.kind == "max"):
                for name in operator.inputs:
                    leader[find(name)] = find(operator.outputs[0])
        groups: dict[str, list[str]] = {}
        for name, tensor in self.network.tensors.items():
            if tensor.role != "constant":
                groups.setdefault(find(name), []).append(name)
        forms: dict[str, Format] = {}
        for names in groups.values():
            is_float = all(self.network.tensors[name].format == FLOAT32 for name in names)
            form = form_of(names) if is_float else FLOAT32
            forms.update({name: form if is_float else self.network.tensors[name].format for name in names})
        return forms

    def _keep_format(self, operator: Operator, function: Function) -> None:
        form = self._forms[operator.outputs[0]]
        inputs = tuple(self._as(name, form, operator.layer) for name in operator.inputs)
        self._put(operator, function, inputs, form)

    def _compute(self, operator: Operator, function: Conv | Matmul | Eltwise | Pool) -> None:
        names = dict(zip(roles(function), operator.inputs, strict=True))
        names["data"] = self._as(names["data"], self._forms[names["data"]], operator.layer)
        data_format = self.tensors[names["data"]].format
        name = operator.outputs[0]
        form = self._forms[name]
        if isinstance(function, Pool):
            if function.kind == "max":
                self._keep_format(operator, msgspec.structs.replace(function, input=data_format, output=data_format))
                return
            stored = FLOAT32 if name in self._stays else form
            self._put(
                operator, msgspec.structs.replace(function, input=data_format, output=stored), (names["data"],), stored
            )
            return
        tail = function.tail
        for role, field in (("factor", "multiply"), ("addend", "add")):
            if role in names and names[role] in self._forms:
                names[role] = self._as(names[role], self._forms[names[role]], operator.layer)
                tail = msgspec.structs.replace(tail, **{field: self.tensors[names[role]].format})
        if isinstance(function, Conv | Matmul) and names["weight"] in self._forms:
            names["weight"] = self._as(names["weight"], self._forms[names["weight"]], operator.layer)
            function = msgspec.structs.replace(function, weight=self.tensors[names["weight"]].format)
        elif isinstance(function, Conv | Matmul) and self.tensors[names["weight"]].format == FLOAT32:
            names["weight"], weights = self._recoded_weight(names["weight"])
            function = msgspec.structs.replace(function, weight=weights.form)
            if weights.gains is not None:
                names["table"] = self._scaled_table(names.get("table"), weights.gains, operator.layer)
                tail = msgspec.structs.replace(tail, table=True)
        stored = tail.output
        if stored == FLOAT32 and (name not in self._stays or tail.pool is not None):
            stored = form
        function = msgspec.structs.replace(
            function, input=data_format, tail=msgspec.structs.replace(tail, output=stored)
        )
        self._put(operator, function, tuple(names[role] for role in roles(function)), stored)

    def _put(self, operator: Operator, function: Function, inputs: tuple[str, ...], form: Format) -> None:
        """The operator with its result in `form`; one that has to be float32 is decoded behind it."""
        name = operator.outputs[0]
        if name not in self._stays or form == FLOAT32:
            self.tensors[name] = msgspec.structs.replace(self.tensors[name], format=form)
            self.operators.append(Operator(operator.layer, function, inputs, operator.outputs))
            return
        copy = self._new_copy(name, form)
        self.operators.append(Operator(operator.layer, function, inputs, (copy,)))
        self.operators.append(Operator(operator.layer, Eltwise(form), (copy,), (name,)))

    def _as(self, name: str, form: Format, layer: str) -> str:
        """The tensor `name` in `form`, converted where it has another."""
        have = self.tensors[name].format
        if have == form or self.tensors[name].role == "constant":
            return name
        if (name, form) in self._copies:
            return self._copies[name, form]
        copy = self._new_copy(name, form)
        self.operators.append(Operator(layer, Eltwise(have, Tail(output=form)), (name,), (copy,)))
        return copy

    def _new_copy(self, name: str, form: Format) -> str:
        copy = unused_name(f"{name}.{'float' if form == FLOAT32 else 'codes'}", self.tensors)
        self.tensors[copy] = Tensor(copy, self.tensors[name].shape, form)
        self._copies[name, form] = copy
        return copy

    def _recoded_weight(self, name: str) -> tuple[str, _Weights]:
        if name not in self._weights:
            weights = self.recode(self.network.tensors[name], self.network.constants.get(name))
            recoded = unused_name(f"{name}.codes", self.tensors)
            self.tensors[recoded] = Tensor(recoded, self.tensors[name].shape, weights.form, "constant")
            if weights.stored is not None:
                self.constants[recoded] = weights.stored
            self._weights[name] = (recoded, weights)
        return self._weights[name]

    def _scaled_table(self, name: str | None, gains: NDArray[np.float64], layer: str) -> str:
        """A table that first multiplies the sums by `gains`, and then does what table `name` did."""
        scaled = unused_name(f"{layer}.scaled", self.tensors)
        self.tensors[scaled] = Tensor(scaled, (2, len(gains)), FLOAT32, "constant")
        if name is None:
            table = np.stack([gains, np.zeros_like(gains)])
        elif name in self.constants:
            table = self.constants[name].view(np.float32).reshape(2, -1) * np.stack([gains, np.ones_like(gains)])
        else:
            return scaled
        if self.network.constants:
            self.constants[scaled] = pack(table.astype(np.float32), 32)
        return scaled
