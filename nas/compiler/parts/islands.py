"""Operators that keep groups of channels apart: heads of attentions, windows, the groups of a convolution.

A product of two features is a convolution of as many groups as there are heads, by weights that are made on the way
(`front_end.products`). What follows it up to the next product, scale, mask and softmax, keeps the heads apart as well: all of
them lie one behind the other along the first axis behind the batch, or along several axes, windows and then heads. Such operators are
an island. Within a head each query has a row of its own in all of these maps.
"""

from collections.abc import Mapping
from typing import NamedTuple

from nas.compiler.network import Network
from nas.compiler.tiling import roles
from nas.ir.command import Conv, Eltwise, Pool
from nas.ir.program import Operator, View
from nas.ir.tensor import Tensor

_FEWEST_AXES = 3
_BYTE = 8


class Island(NamedTuple):
    """The operators with these places, in their order, of which each keeps so many groups apart, and so many rows of each of them;
    1 where rows are not told apart.
    """

    members: tuple[int, ...]
    groups: int
    rows: int = 1


def wide_groups(network: Network, operator: Operator) -> int:
    """How many groups of several channels a convolution with constant weights has; 0 where it is none such."""
    groups, weight = _groups_of(network, operator)
    is_wide = weight is not None and weight.role == "constant" and weight.shape[1] > 1
    return groups if is_wide and _reads_apart(network, operator, groups) else 0


def product_groups(network: Network, operator: Operator) -> int:
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
        groups = 0 if index in taken else product_groups(network, operator)
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
    told = island._replace(rows=total // island.groups)
    made: set[str] = set()
    for operator in operators:
        result = network.tensors[operator.outputs[0]].shape
        by_axes = is_by_axes(result, told)
        if (not by_axes and result[1] != total) or (by_axes and not isinstance(operator.function, View | Eltwise)):
            return island
        for role, name in zip(roles(operator.function), operator.inputs, strict=True):
            tensor = network.tensors[name]
            if is_read_whole(operator, role):
                can_be_told = name not in made  # which comes in rows
            elif by_axes or isinstance(operator.function, View):
                can_be_told = name in made or _has_both(tensor, role, told)
            else:
                can_be_told = _has_rows(tensor, role, total)
            if not can_be_told:
                return island
        made.update(operator.outputs)
    return told


def is_by_axes(shape: tuple[int, ...], island: Island) -> bool:
    """Whether groups lie along one axis of what an island makes, and the rows of each along the next."""
    return len(shape) == _FEWEST_AXES + 1 and island.rows > 1 and shape[1:3] == (island.groups, island.rows)


def is_read_whole(operator: Operator, role: str) -> bool:
    """Whether each row of a group reads all that the group has of an operand, as those of a product do of its data."""
    return role == "data" and isinstance(operator.function, Conv)


def _has_rows(tensor: Tensor, role: str, rows: int) -> bool:
    """Whether so many rows of what is no product's data can be told apart, or are all the same."""
    if tensor.role == "constant":
        return tensor.shape[axis_of_groups(role)] in (1, rows)
    return _lies_apart(tensor, rows)


def _has_both(tensor: Tensor, role: str, island: Island) -> bool:
    """Whether a constant has a number, or one for all, along the axis of the groups and along that of their rows."""
    if tensor.role != "constant" or tensor.format.bits < _BYTE:
        return False
    if role == "table":
        return tensor.shape[axis_of_groups(role)] in (1, island.groups)
    return tensor.shape[0] in (1, island.groups) and tensor.shape[1] in (1, island.rows)


def axis_of_groups(role: str) -> int:
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
    return is_spread(tensor) or _inner_groups(tensor.shape, groups) is not None


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


def is_spread(tensor: Tensor) -> bool:
    """Whether a feature serves all channels alike."""
    return len(tensor.shape) >= _FEWEST_AXES and all(size == 1 for size in tensor.shape[1:-2]) and tensor.shape[1] == 1


def size_of_parts(network: Network, island: Island, most: int) -> int:
    """The most groups that can be done at a time, up to `most`."""
    names = {name for index in island.members for name in network.operators[index].inputs}
    shapes = [network.tensors[name].shape for name in names if network.tensors[name].role != "constant"]
    inner = {size for shape in shapes for size in _inner_groups(shape, island.groups) or ()}
    return next(size for size in range(most, 0, -1) if all(size % each == 0 or each % size == 0 for each in inner))
