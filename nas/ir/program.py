"""A compiled network as data: what is computed (operators on tensors) and how (commands on regions).

The operators are the network as the front end understood it; the optimiser plans from them, reports count from them, the
checker holds commands against them. The commands stand alone: simulators and engines never look at the operators.
"""

from typing import Literal

import msgspec

from nas.ir.command import Command, Conv, Eltwise, Host, Matmul, Pool
from nas.ir.tensor import Format, Region, Tensor

SCHEMA_VERSION = 1


class View(msgspec.Struct, frozen=True, tag="view", tag_field="op", omit_defaults=True, gc=False):
    """Data movement without arithmetic, on the elements of one image in row-major order.

    The input (batch, *rest) is seen as (batch, *split), its axes are put in `order`, then `start`:`stop` is cut out of
    the first axis after the batch (stop 0: all of it), and the result has the output's shape. Channel shuffle is
    split (groups, channels / groups, rows, columns) with order (1, 0, 2, 3); flatten and slices are views as well.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    start: int = 0
    stop: int = 0

    @property
    def in_order(self) -> bool:
        """Whether the axes stay in their order."""
        return self.order == tuple(range(len(self.order)))


class Concat(msgspec.Struct, frozen=True, tag="concat", tag_field="op", gc=False):
    """Inputs of one format, one after the other along the channels."""


Function = Conv | Matmul | Eltwise | Pool | View | Concat | Host


class Operator(msgspec.Struct, frozen=True, gc=False):
    """One function of the network on whole tensors, by name.

    inputs: the data input first, then what the function reads after it in the order of `nas.ir.command` (weights, table,
    addend). layer: the path of the module in the network, such as "stages.0.1.conv".
    """

    layer: str
    function: Function
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Binding(msgspec.Struct, frozen=True, gc=False):
    """A named tensor in dram: where it lies (shape with the batch first) and how its elements are read."""

    name: str
    region: Region
    format: Format


class Program(msgspec.Struct, frozen=True):
    """The sequential form: commands in an order that is right if each runs after the one before it.

    constants: their bytes are in the weights file under the same names, exactly as they lie in dram.
    used_bytes: one past the highest byte in use, by memory.
    """

    name: str
    processor: str
    stage: Literal["front_end", "opt"]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    constants: tuple[Binding, ...]
    commands: tuple[Command, ...]
    used_bytes: dict[str, int]
