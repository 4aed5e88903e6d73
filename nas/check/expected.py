"""The operators and tensors of a network -> what its commands can be parts of, and what they may read.

Views and joins of tensors compute nothing, so that their elements are those of the tensors behind them.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from nas.check.part import is_part
from nas.ir.command import Command, Conv, Host, Matmul
from nas.ir.program import Concat, Function, Operator, View
from nas.ir.tensor import Tensor

Names = frozenset[str]

ANY: Names = frozenset()
_CONSTANT = "a constant"  # bytes of constants that are no tensor's alone, as the optimiser packs them
_MOST_NAMES, _MOST_WAYS = 256, 16  # of more it is not asked: no file may fill the memory with names


class Way(NamedTuple):
    """The operators of a layer that do the same, and the tensors that they read, by place, and make."""

    function: Function
    first: set[str]
    second: set[str]
    others: set[str]
    made: set[str]


class Expected:
    """What a network expects of commands, whose attributes must live as long as this."""

    def __init__(self, operators: Iterable[Operator], tensors: Iterable[Tensor]) -> None:
        tensors = tuple(tensors)
        # Of every tensor those whose elements it has.
        self._behind: dict[str, Names] = {tensor.name: frozenset([tensor.name]) for tensor in tensors}
        self._constants = {tensor.name for tensor in tensors if tensor.role == "constant"}
        self._ways: dict[str, dict[Function, Way]] = {}
        for each in operators:
            if isinstance(each.function, View | Concat):
                self._behind.update(dict.fromkeys(each.outputs, self._all(each.inputs)))
            ways = self._ways.setdefault(each.layer, {})
            way = ways.setdefault(each.function, Way(each.function, set(), set(), set(), set()))
            way.first.update(each.inputs[:1])
            way.second.update(each.inputs[1:2])
            way.others.update(each.inputs[2:])
            way.made.update(each.outputs)
        # Most tiles of a layer share their attributes, which take long to compare.
        self._known: dict[tuple[str, int], tuple[Way, ...]] = {}
        self._operands: dict[tuple[bool | int, ...], tuple[Names, Names, Names, Names]] = {}

    def knows(self, layer: str) -> bool:
        """Whether there are operators of this layer."""
        return layer in self._ways

    def ways(self, command: Command) -> tuple[Way, ...]:
        """The operators of its layer that do what it does a part of."""
        key = command.layer, id(command.attributes)
        if key not in self._known:
            mine = self._ways.get(command.layer, {}).values()
            self._known[key] = tuple(each for each in mine if is_part(command.attributes, each.function))
        return self._known[key]

    def bound(self, name: str) -> Names:
        """The tensors of which a bound one is a part."""
        return self._behind.get(name, frozenset([_CONSTANT]) if self._behind else ANY)

    def operands(self, command: Command, count: int) -> tuple[Names, ...]:
        """The tensors of which each of `count` reads of a command that computes may be a part, and last of which its result is one.

        ANY where nobody knows. Sums may be taken up again, in the place of an addend.
        """
        mine = self.ways(command)
        if not 0 < len(mine) <= _MOST_WAYS:
            return (ANY,) * (count + 1)
        is_product = isinstance(command.attributes, Conv | Matmul)
        key = is_product, *map(id, mine)
        if key not in self._operands:
            read_second = set[str]().union(*(way.second for way in mine))
            results = set[str]().union(*(way.made for way in mine))
            read_first = set[str]().union(*(way.first for way in mine))
            if not is_product and any(isinstance(way.function, Conv | Matmul) for way in mine):
                read_first |= results  # a tail of sums that were made in parts
            names = read_first.union(read_second, results, *(way.others for way in mine))
            self._operands[key] = self._all(read_first), self._all(read_second), self._all(names), self._all(results)
        first, second, everything, made = self._operands[key]
        if isinstance(command.attributes, Host):
            return (*(everything,) * count, made)
        second = second if is_product else everything
        return (*(first, second, *(everything,) * count)[:count], made)

    def _all(self, names: Collection[str]) -> Names:
        """Those behind all of these; ANY where one is not known."""
        behind = set[str]()
        for name in names:
            own = self._behind.get(name, ANY)
            behind |= own
            if not own or len(behind) > _MOST_NAMES:
                return ANY
        return frozenset(behind | {_CONSTANT} if not self._constants.isdisjoint(names) else behind)
