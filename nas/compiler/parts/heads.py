"""A network -> the same network, with the heads of attentions, and other groups of channels, done a few at a time.

The whole island of operators that keep groups apart (`islands`) can be done for some groups after the others:

    s = q k, p = softmax(s), y = p v   ->   s1 = q1 k1,  p1 = softmax(s1), y1 = p1 v1,   s2 = q2 k2, ...,   y = (y1, y2, ...)

A part can also be some of one head's rows: they read all of its keys and values. So are the groups of a convolution with constant
weights of which not one fits: each is a convolution of its own then, whose channels and sums can be cut.

Where groups lie along several axes, parts are of whole windows, or of heads of one window. Numbers are the same, bit for bit. Slices
and the join are other names for the same bytes wherever strides can say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from nas.compiler.network import Network
from nas.compiler.parts.depth import tile_bytes
from nas.compiler.parts.islands import (
    Island,
    axis_of_groups,
    is_by_axes,
    is_read_whole,
    is_spread,
    islands_between_products,
    product_groups,
    wide_groups,
)
from nas.compiler.parts.rewriting import Rewriting, resized
from nas.compiler.tiling import roles
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Tensor


@dataclass(frozen=True)
class Heads:
    """Before the naive program is made, and in the optimiser once operators have grown by fusing."""

    name: str = "heads"
    why: str = "what has groups that don't fit one by one could not run at all"

    def run(self, network: Network, processor: Processor) -> Network:
        """What cannot be cut by groups stays as it is. A product is cut with all of its island."""
        too_large = {
            index: groups
            for index, operator in enumerate(network.operators)
            if (groups := product_groups(network, operator) or wide_groups(network, operator)) > 1
            and tile_bytes(network, operator, 1) > processor.sram.size_bytes
        }
        if not too_large:
            return network
        islands = {member: island for island in islands_between_products(network) for member in island.members}
        sizes = {islands.get(index, Island((index,), groups)): 1 for index, groups in too_large.items()}
        return cut_by_groups(network, sizes)


def cut_by_groups(network: Network, sizes: Mapping[Island, int]) -> Network:
    """The network with islands done for so many groups at a time; for so many rows of one where rows are told apart."""
    if not sizes:
        return network
    by_last = {island.members[-1]: (island, size) for island, size in sizes.items()}
    members = {index for island in sizes for index in island.members}
    cutting = _Cutting(dict(network.tensors), dict(network.constants), [])
    for index, operator in enumerate(network.operators):
        if index in by_last:
            island, size = by_last[index]
            cutting.cut([network.operators[member] for member in island.members], island, size)
        elif index not in members:
            cutting.operators.append(operator)
    return cutting.result(network)


@dataclass
class _Cutting(Rewriting):
    """copies: of the data of which groups of a tensor there is one in a buffer of its own."""

    copies: dict[tuple[str, tuple[int, int]], str] = field(default_factory=dict)

    def cut(self, operators: Sequence[Operator], island: Island, size: int) -> None:
        """Add the operators for some groups, or rows of one, after the others, and the joins of what they make for the last time.

        The first product of a part comes before the rest of the part before: engines have both to work on.
        """
        together = island.rows if island.rows > 1 else island.groups
        stretches = range(0, island.groups * island.rows, together)
        ranges = [
            (first + start, first + min(start + size, together))
            for first in stretches
            for start in range(0, together, size)
        ]
        made: list[dict[str, str]] = [{} for _ in ranges]
        first, *others = operators
        for place, each in enumerate(ranges):
            self._add(first, island, each, made[place])
            if place:
                self._add_all(others, island, ranges[place - 1], made[place - 1])
        self._add_all(others, island, ranges[-1], made[-1])
        last = operators[-1]
        parts = tuple(names[last.outputs[0]] for names in made)
        self.operators.append(Operator(last.layer, Concat(), parts, last.outputs))

    def _add_all(
        self, operators: Sequence[Operator], island: Island, part: tuple[int, int], made: dict[str, str]
    ) -> None:
        for operator in operators:
            self._add(operator, island, part, made)

    def _add(self, operator: Operator, island: Island, part: tuple[int, int], made: dict[str, str]) -> None:
        """The groups part[0]..part[1] - 1 of an operator, or those of the rows of all groups; made: the parts of what the island has
        made, by name.
        """
        function, total = operator.function, island.groups * island.rows
        (name,) = operator.outputs
        whole = self.tensors[name]
        by_axes = is_by_axes(whole.shape, island)
        whole_groups = (part[0] // island.rows, ceil_div(part[1], island.rows))
        inputs = tuple(
            made.get(source)
            or (
                self._data_of(operator.layer, source, island, whole_groups)
                if is_read_whole(operator, role)
                else self._rows_of_constant(source, role, island, part)
                if by_axes
                else self._part_of(operator.layer, source, role, total, part)
            )
            for role, source in zip(roles(function), operator.inputs, strict=True)
        )
        if isinstance(function, Conv):
            function = msgspec.structs.replace(function, groups=whole_groups[1] - whole_groups[0])
        elif isinstance(function, View):
            inner = self.tensors[inputs[0]].shape[1:]
            function = View(inner, tuple(range(len(inner))))
        size = part[1] - part[0]
        shape = (whole.shape[0], 1, size, *whole.shape[3:]) if by_axes else None
        like = Tensor("", shape, whole.format) if shape else resized(whole, whole.shape[1] // total * size)
        made[name] = self.new(f"{name}.part", like)
        self.operators.append(Operator(operator.layer, function, inputs, (made[name],)))

    def _data_of(self, layer: str, name: str, island: Island, groups: tuple[int, int]) -> str:
        """Some groups of a product's data. Where rows are apart those of a group all read it, so that it is loaded once for all."""
        if (name, groups) not in self.copies:
            part = self._groups_of(layer, name, island.groups, groups)
            if island.rows == 1:
                return part
            self.copies[name, groups] = copy = self.new(f"{name}.copy", self.tensors[part])
            self.operators.append(Operator(layer, Concat(), (part,), (copy,)))
        return self.copies[name, groups]

    def _part_of(self, layer: str, name: str, role: str, groups: int, part: tuple[int, int]) -> str:
        """What some groups need of something that comes from outside."""
        tensor = self.tensors[name]
        if tensor.role == "constant":
            return self._part_of_constant(name, tensor, role, groups, part)
        if is_spread(tensor) and role in ("factor", "addend"):
            return name
        return self._groups_of(layer, name, groups, part)

    def _groups_of(self, layer: str, name: str, groups: int, part: tuple[int, int]) -> str:
        """Some groups of a feature, whichever of its first axes they lie along."""
        size = self.tensors[name].shape[1]
        if size % groups == 0:
            step = size // groups
            return self.part(layer, name, part[0] * step, part[1] * step)
        inner = groups // size
        if part[0] % inner == 0 and part[1] % inner == 0:
            return self.part(layer, name, part[0] // inner, part[1] // inner)
        place = part[0] // inner
        one = self.part(layer, name, place, place + 1)
        whole = self.tensors[one]
        shape = (whole.shape[0], *whole.shape[2:])
        within = self.new(f"{name}.part", Tensor("", shape, whole.format))
        view = View(whole.shape[1:], tuple(range(len(whole.shape) - 1)))
        self.operators.append(Operator(layer, view, (one,), (within,)))
        return self._groups_of(layer, within, inner, (part[0] - place * inner, part[1] - place * inner))

    def _rows_of_constant(self, name: str, role: str, island: Island, part: tuple[int, int]) -> str:
        """What some rows of one group need of a constant whose axes are groups and rows."""
        tensor = self.tensors[name]
        group, start = divmod(part[0], island.rows)
        if role == "table":
            return self._part_of_constant(name, tensor, role, island.groups, (group, group + 1))
        wanted = (group, group + 1), (start, start + part[1] - part[0])
        places = [each if size > 1 else (0, 1) for size, each in zip(tensor.shape, wanted, strict=False)]
        if all(each == (0, size) for size, each in zip(tensor.shape, places, strict=False)):
            return name
        return self.constant_part(name, *places)

    def _part_of_constant(self, name: str, tensor: Tensor, role: str, groups: int, part: tuple[int, int]) -> str:
        axis = axis_of_groups(role)
        if tensor.shape[axis] == 1:
            return name
        step = tensor.shape[axis] // groups
        before = [(0, size) for size in tensor.shape[:axis]]
        return self.constant_part(name, *before, (part[0] * step, part[1] * step))
