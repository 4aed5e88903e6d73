"""A network -> the same network, with the heads of attentions, and other groups of channels, done a few at a time.

A product of two features is a convolution of as many groups as there are heads, by weights that are made on the way
(`front_end.products`). What follows it up to the next product, scale, mask and softmax, keeps the heads apart as well: all of
them lie one behind the other along the first axis behind the batch. So the whole island of such operators can be done for
some heads after the others:

    s = q k, p = softmax(s), y = p v   ->   s1 = q1 k1,  p1 = softmax(s1), y1 = p1 v1,   s2 = q2 k2, ...,   y = (y1, y2, ...)

Within a head each query has a row of its own in all of these maps, so that a part can also be some of one head's rows: they read
all of its keys and values.

So are the groups of a convolution with constant weights of which not one fits: each is a convolution of its own then, whose
channels and sums can be cut.

Groups may lie along several axes, windows and then heads: parts are of whole windows then, or of heads of one window. Numbers are
the same, bit for bit. Slices and the join are other names for the same bytes wherever strides can say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from nas.compiler.depth import tile_bytes
from nas.compiler.network import Network, pack
from nas.compiler.rewrite import Rewriting, resized
from nas.compiler.tiling import roles
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv, Eltwise, Pool
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Tensor

_FEWEST_AXES = 3


class Island(NamedTuple):
    """The operators with these places, in their order, of which each keeps so many groups apart, and so many rows of each of them;
    1 where rows are not told apart.
    """

    members: tuple[int, ...]
    groups: int
    rows: int = 1


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
            if (groups := _product_groups(network, operator) or _wide_groups(network, operator)) > 1
            and tile_bytes(network, operator, 1) > processor.sram.size_bytes
        }
        if not too_large:
            return network
        islands = {member: island for island in islands_between_products(network) for member in island.members}
        sizes = {islands.get(index, Island((index,), groups)): 1 for index, groups in too_large.items()}
        return cut_by_groups(network, sizes)


def _wide_groups(network: Network, operator: Operator) -> int:
    """How many groups of several channels a convolution with constant weights has; 0 where it is none such."""
    groups, weight = _groups_of(network, operator)
    is_wide = weight is not None and weight.role == "constant" and weight.shape[1] > 1
    return groups if is_wide and _reads_apart(network, operator, groups) else 0


def _product_groups(network: Network, operator: Operator) -> int:
    """How many groups of two features it multiplies, 0 where it does something else."""
    groups = _groups_of(network, operator)[0] if _is_product(network, operator) else 0
    return groups if groups and _keeps_apart(network, operator, groups) else 0


def _is_product(network: Network, operator: Operator) -> bool:
    """Whether it multiplies two features."""
    weight = _groups_of(network, operator)[1]
    return weight is not None and weight.role != "constant"


def _groups_of(network: Network, operator: Operator) -> tuple[int, Tensor | None]:
    """The groups of a convolution and its weights; of other operators none."""
    function = operator.function
    if not isinstance(function, Conv):
        return 0, None
    return function.groups, network.tensors[operator.inputs[1]]


def islands_between_products(network: Network) -> list[Island]:
    """From a product of two features to one that reads what is made of it."""
    users = network.users
    found: list[Island] = []
    taken: set[int] = set()
    for index, operator in enumerate(network.operators):
        groups = 0 if index in taken else _product_groups(network, operator)
        if groups:
            island = _island_from(network, users, index, groups)
            if len(island.members) > 1:
                found.append(island)
                taken.update(island.members)
    return found


def with_rows(network: Network, island: Island) -> Island:
    """The island, the rows of whose groups are told apart as well; as it is where they cannot be."""
    operators = [network.operators[index] for index in island.members]
    total = network.tensors[operators[0].outputs[0]].shape[1]
    made: set[str] = set()
    for operator in operators:
        if network.tensors[operator.outputs[0]].shape[1] != total:
            return island
        for role, name in zip(roles(operator.function), operator.inputs, strict=True):
            if _is_read_whole(operator, role):
                can_be_told = name not in made  # which comes in rows
            else:
                can_be_told = _has_rows(network.tensors[name], role, total)
            if not can_be_told:
                return island
        made.update(operator.outputs)
    return island._replace(rows=total // island.groups)


def _is_read_whole(operator: Operator, role: str) -> bool:
    """Whether each row of a group reads all that the group has of an operand, as those of a product do of its data."""
    return role == "data" and isinstance(operator.function, Conv)


def _has_rows(tensor: Tensor, role: str, rows: int) -> bool:
    """Whether so many rows of what is no product's data can be told apart, or are all the same."""
    if tensor.role == "constant":
        return tensor.shape[_axis_of_groups(role)] in (1, rows)
    return _lies_apart(tensor, rows)


def _axis_of_groups(role: str) -> int:
    """Of a constant."""
    return 1 if role == "table" else 0


def _island_from(network: Network, users: Mapping[str, list[int]], first: int, groups: int) -> Island:
    """The operators up to the next product, if all that others read is what that one makes; only the first one else."""
    members, made = [first], set(network.operators[first].outputs)
    for index in range(first + 1, len(network.operators)):
        operator = network.operators[index]
        if made.isdisjoint(operator.inputs):
            continue
        if not _keeps_apart(network, operator, groups):
            break
        members.append(index)
        if isinstance(operator.function, Conv):
            readers = {reader for name in made for reader in users.get(name, ())}
            return Island(tuple(members) if readers <= set(members) else (first,), groups)
        made.update(operator.outputs)
    return Island((first,), groups)


def _keeps_apart(network: Network, operator: Operator, groups: int) -> bool:
    """Whether each of so many stretches of what an operator makes depends on the same stretch of what it reads."""
    function, tensors = operator.function, network.tensors
    result = tensors[operator.outputs[0]]
    if result.role == "output" or not _has_groups(result, groups):
        return False
    if isinstance(function, View):
        return function.in_order and not function.stop and _has_groups(tensors[operator.inputs[0]], groups)
    if not isinstance(function, Conv | Eltwise | Pool):
        return False
    if isinstance(function, Conv) and (
        function.groups != groups or (groups == 1 and not _is_product(network, operator))
    ):
        return False
    return _reads_apart(network, operator, groups)


def _reads_apart(network: Network, operator: Operator, groups: int) -> bool:
    """Whether what it reads can be told apart by groups."""
    return all(
        tensor.role == "constant" or _lies_apart(tensor, groups)
        for tensor in map(network.tensors.__getitem__, operator.inputs)
    )


def _lies_apart(tensor: Tensor, groups: int) -> bool:
    """Whether so many groups of a feature can be told apart, or all read the same."""
    return _is_spread(tensor) or _inner_groups(tensor.shape, groups) is not None


def _has_groups(tensor: Tensor, groups: int) -> bool:
    return len(tensor.shape) >= _FEWEST_AXES and tensor.shape[1] % groups == 0


def _inner_groups(shape: tuple[int, ...], groups: int) -> list[int] | None:
    """Of groups that lie along the first axes behind the batch, those in one place of the first axis, of the first two, ...; None
    where they don't lie so.
    """
    found: list[int] = []
    for size in shape[1:-2]:
        if size % groups == 0:
            return found
        if groups % size:
            return None
        groups //= size
        found.append(groups)
    return None


def _is_spread(tensor: Tensor) -> bool:
    """Whether a feature serves all channels alike."""
    return len(tensor.shape) >= _FEWEST_AXES and all(size == 1 for size in tensor.shape[1:-2]) and tensor.shape[1] == 1


def size_of_parts(network: Network, island: Island, most: int) -> int:
    """The most groups that can be done at a time, up to `most`."""
    names = {name for index in island.members for name in network.operators[index].inputs}
    shapes = [network.tensors[name].shape for name in names if network.tensors[name].role != "constant"]
    inner = {size for shape in shapes for size in _inner_groups(shape, island.groups) or ()}
    return next(size for size in range(most, 0, -1) if all(size % each == 0 or each % size == 0 for each in inner))


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
        whole_groups = (part[0] // island.rows, ceil_div(part[1], island.rows))
        inputs = tuple(
            made.get(name)
            or (
                self._data_of(operator.layer, name, island, whole_groups)
                if _is_read_whole(operator, role)
                else self._part_of(operator.layer, name, role, total, part)
            )
            for role, name in zip(roles(function), operator.inputs, strict=True)
        )
        if isinstance(function, Conv):
            function = msgspec.structs.replace(function, groups=whole_groups[1] - whole_groups[0])
        elif isinstance(function, View):
            inner = self.tensors[inputs[0]].shape[1:]
            function = View(inner, tuple(range(len(inner))))
        (name,) = operator.outputs
        whole = self.tensors[name]
        made[name] = self.new(f"{name}.part", resized(whole, whole.shape[1] // total * (part[1] - part[0])))
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
        if _is_spread(tensor) and role in ("factor", "addend"):
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

    def _part_of_constant(self, name: str, tensor: Tensor, role: str, groups: int, part: tuple[int, int]) -> str:
        axis = _axis_of_groups(role)
        if tensor.shape[axis] == 1:
            return name
        step = tensor.shape[axis] // groups
        start, stop = part[0] * step, part[1] * step
        shape = (*tensor.shape[:axis], stop - start, *tensor.shape[axis + 1 :])
        cut = self.new(f"{name}.part", Tensor("", shape, tensor.format, "constant"))
        stored = self.constants.get(name)
        if stored is not None:
            if axis:
                self.constants[cut] = pack(stored.view(np.float32).reshape(tensor.shape)[:, start:stop], 32)
            else:
                rows = stored.reshape(tensor.shape[0], -1)
                self.constants[cut] = rows[start:stop].reshape(-1)
        return cut
