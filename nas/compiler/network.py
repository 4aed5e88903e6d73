"""A network as the compiler sees it between its stages: operators on tensors, and the bytes of its constants.

The front end makes one from a module, the optimiser's passes turn one into another; `nas.compiler.front_end.naive` and
`nas.compiler.opt.pipeline` turn one into commands.
"""

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.program import Binding, Operator, Program
from nas.ir.tensor import Tensor, container_bits, row_strides, stored_bytes

Bytes = NDArray[np.uint8]

_ROWS, _MAP = 2, 4  # axes, the batch in front


@dataclass(frozen=True)
class Network:
    """operators: in an order that can be executed; tensors: by name; constants: the stored bytes of each constant.

    A constant without bytes is one whose values are unknown (a network on the meta device): it has a cost and no value.
    """

    name: str
    operators: tuple[Operator, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Bytes] = field(default_factory=dict)

    @cached_property
    def users(self) -> dict[str, list[int]]:
        """For every tensor that is read, the operators that read it, in order."""
        users: dict[str, list[int]] = {}
        for index, operator in enumerate(self.operators):
            for name in operator.inputs:
                users.setdefault(name, []).append(index)
        return users

    def optimised_program(
        self,
        processor: Processor,
        bindings: Mapping[str, Binding],
        constants: Iterable[Binding],
        commands: Iterable[Command],
        used_bytes: dict[str, int],
    ) -> Program:
        """These commands as the network's program; bindings: of its inputs and outputs, by name."""
        return Program(
            name=self.name,
            processor=processor.name,
            stage="opt",
            tensors=tuple(self.tensors.values()),
            operators=self.operators,
            inputs=tuple(bindings[name] for name in self.inputs),
            outputs=tuple(bindings[name] for name in self.outputs),
            constants=tuple(constants),
            commands=tuple(commands),
            used_bytes=used_bytes,
        )


def is_reserved(name: str) -> bool:
    """Whether planning has another meaning for a tensor of this name: it knows tensors, memories and buffers by name."""
    return name in ("dram", "sram") or (name.startswith("buffer ") and name[len("buffer ") :].isdigit())


def unused_name(name: str, taken: Container[str]) -> str:
    """`name`, or with a number behind it where that is taken."""
    if name not in taken:
        return name
    count = 2
    while (candidate := f"{name}#{count}") in taken:
        count += 1
    return candidate


def constant_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How a constant is stored: weights (n, ...) as n rows, so that few-bit codes of one output are packed together."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else shape


@lru_cache(maxsize=1 << 14)
def constant_strides(shape: tuple[int, ...], bits: int) -> tuple[int, ...]:
    """The strides, in elements, of a constant of `shape` stored as `constant_shape` says."""
    pitch = row_strides(constant_shape(shape), bits)[0]
    inner = [1]
    for size in reversed(shape[2:]):
        inner.append(inner[-1] * size)
    return (pitch, *reversed(inner)) if len(shape) > 1 else (1,)


def pack(values: NDArray[np.generic], bits: int) -> Bytes:
    """Codes, or float32 numbers, as the bytes of a constant: rows on whole bytes, the first element in the lowest bits."""
    rows = values.reshape(constant_shape(values.shape))
    if bits == 32:
        dtype = np.float32 if rows.dtype.kind == "f" else np.int32
        return np.ascontiguousarray(rows, dtype).reshape(-1).view(np.uint8)
    if bits == 8:
        return np.ascontiguousarray(rows, np.uint8).reshape(-1)
    rows = np.atleast_2d(rows).astype(np.uint8)
    per_byte = 8 // bits
    padded = np.zeros((rows.shape[0], -(-rows.shape[1] // per_byte) * per_byte), np.uint8)
    padded[:, : rows.shape[1]] = rows
    shifts = (np.arange(per_byte) * bits).astype(np.uint8)
    groups = padded.reshape(rows.shape[0], -1, per_byte) << shifts
    packed: Bytes = np.bitwise_or.reduce(groups, axis=-1).astype(np.uint8).reshape(-1)
    return packed


def channel_count(shape: tuple[int, ...]) -> int:
    """The channels of a stored tensor of `shape`, batch first, as its commands count them."""
    if len(shape) == _ROWS:
        return shape[1]
    return math.prod(shape[1:-2]) if len(shape) >= _MAP else 1


def tensor_bytes(tensor: Tensor) -> int:
    """The bytes that a tensor takes in memory."""
    shape = constant_shape(tensor.shape) if tensor.role == "constant" else tensor.shape
    return stored_bytes(shape, container_bits(tensor.format.bits))


def constant_bytes(network: Network) -> int:
    """The bytes of all constants that are read: so many at least are loaded from somewhere."""
    read = {name for operator in network.operators for name in operator.inputs}
    constants = [tensor for name, tensor in network.tensors.items() if tensor.role == "constant" and name in read]
    return sum(map(tensor_bytes, constants))
