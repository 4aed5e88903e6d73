"""The operators and tensors of a network -> what its commands can be parts of, and what they may read.

Views and joins of tensors compute nothing, so that their elements are those of the tensors behind them.
"""

from collections.abc import Iterable, Sequence

from nas.check.part import is_part
from nas.ir.command import Command, Conv, Host, Matmul
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Tensor

Names = frozenset[str]

ANY: Names = frozenset()
_CONSTANT = "a constant"  # bytes of constants that are no tensor's alone, as the optimiser packs them


class Expected:
    """What a network expects of commands, whose attributes must live as long as this."""

    def __init__(self, operators: Iterable[Operator], tensors: Iterable[Tensor]) -> None:
        tensors = tuple(tensors)
        # Of every tensor those whose elements it has.
        self._behind: dict[str, Names] = {tensor.name: frozenset([tensor.name]) for tensor in tensors}
        self._constants = {tensor.name for tensor in tensors if tensor.role == "constant"}
        self._operators: dict[str, list[Operator]] = {}
        for each in operators:
            if isinstance(each.function, View | Concat):
                self._behind.update(dict.fromkeys(each.outputs, self._all(each.inputs)))
            self._operators.setdefault(each.layer, []).append(each)
        # Most tiles of a layer share their attributes, which take long to compare.
        self._known: dict[tuple[str, int], tuple[Operator, ...]] = {}

    def knows(self, layer: str) -> bool:
        """Whether there are operators of this layer."""
        return layer in self._operators

    def operators(self, command: Command) -> tuple[Operator, ...]:
        """Those of its layer that do what it does a part of."""
        key = command.layer, id(command.attributes)
        if key not in self._known:
            mine = self._operators.get(command.layer, ())
            self._known[key] = tuple(each for each in mine if is_part(command.attributes, each.function))
        return self._known[key]

    def bound(self, name: str) -> Names:
        """The tensors of which a bound one is a part."""
        return self._behind.get(name, frozenset([_CONSTANT]) if self._behind else ANY)

    def operands(self, command: Command, count: int) -> tuple[Names, ...]:
        """The tensors of which each of `count` reads of a command that computes may be a part, and last of which its result is one.

        ANY where nobody knows. Sums may be taken up again, in the place of an addend.
        """
        mine = self.operators(command)
        if not mine:
            return (ANY,) * (count + 1)
        given = ANY.union(*(self._all(each.outputs) for each in mine))
        everything = given.union(*(self._all(each.inputs) for each in mine))
        if isinstance(command.attributes, Host):
            return (*(everything,) * count, given)
        first = ANY.union(*(self._all(each.inputs[:1]) for each in mine))
        second = everything
        if isinstance(command.attributes, Conv | Matmul):
            second = ANY.union(*(self._all(each.inputs[1:2]) for each in mine))
        return (*(first, second, *(everything,) * count)[:count], given)

    def _all(self, names: Sequence[str]) -> Names:
        behind = ANY.union(*(self._behind.get(name, ANY) for name in names))
        return behind | {_CONSTANT} if not self._constants.isdisjoint(names) else behind
