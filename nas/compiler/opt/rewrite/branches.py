"""Branches: convolutions that read one map through one window become one, where that fills the columns of the array better.

Inception-like blocks reduce a map to a few channels for each of their branches. On an array that is much wider, each such
convolution takes as long as one of all their channels together would. The branches look at their parts of its result, which costs
nothing; what has its place in a concat stays by itself, since it would have to be moved there. (Known as horizontal fusion.)

In 8 bits all parts are codes of one range. So this comes before formats are chosen.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.compiler.network import Network, pack
from nas.compiler.opt.engines.spread import both_engines_cycles
from nas.compiler.parts.rewriting import Rewriting, resized
from nas.compiler.tiling import roles
from nas.hw.spec import Processor
from nas.ir.command import Conv
from nas.ir.program import Concat, Operator
from nas.ir.tensor import FLOAT32, Format, Tensor
from nas.timing.matrix import ARRAY_DATAFLOWS, array_cycles, passes

_WORTH = 0.93  # of the time
_ROOM = 0.75  # of the sram, for the maps: larger ones could pass in stripes if branches stay apart
_BYTE = Format(8, "code")
_BESIDE = "+"
_Group = tuple[Operator, ...]


@dataclass(frozen=True)
class JoinBranches:
    """in_bytes: whether what is float now will be bytes."""

    in_bytes: bool = False
    name: str = "branches"
    why: str = "a wide array does several convolutions of few channels in the time of one"

    def run(self, network: Network, processor: Processor) -> Network:
        users = network.users
        alike: dict[tuple[str, Conv], list[Operator]] = {}
        for operator in network.operators:
            function = operator.function
            if not isinstance(function, Conv) or not _is_plain(function):
                continue
            readers = [network.operators[index].function for index in users.get(operator.outputs[0], ())]
            is_stored_beside = any(isinstance(reader, Concat) for reader in readers)
            if network.tensors[operator.outputs[0]].role == "feature" and not is_stored_beside:
                alike.setdefault((operator.inputs[0], _without_table(function)), []).append(operator)
        joined = [group for operators in alike.values() for group in self._groups(network, operators, processor)]
        return _joined(network, joined) if joined else network

    def _groups(self, network: Network, operators: list[Operator], processor: Processor) -> list[_Group]:
        """Which of those that are alike become one: again and again the two groups that gain most, until none gain enough."""
        groups: list[_Group] = [(operator,) for operator in operators]
        while True:
            gains = []
            for one, other in combinations(groups, 2):
                apart = self._cycles(network, one, processor) + self._cycles(network, other, processor)
                together = self._cycles(network, (*one, *other), processor)
                if together < _WORTH * apart:
                    gains.append((apart - together, one, other))
            if not gains:
                # In the order of the program: the first stands before all that reads from any of them.
                return [tuple(each for each in operators if each in group) for group in groups if len(group) > 1]
            _, one, other = max(gains, key=lambda gain: gain[0])
            groups = [*(group for group in groups if group not in (one, other)), (*one, *other)]

    def _cycles(self, network: Network, group: _Group, processor: Processor) -> float:
        """About how long both engines together take for a group; for ever if its maps could not all stay on chip."""
        function = group[0].function
        assert isinstance(function, Conv)
        data, form = (
            _BYTE if self.in_bytes and each == FLOAT32 else each for each in (function.input, function.weight)
        )
        source, weights, result = (network.tensors[name].shape for name in (*group[0].inputs[:2], group[0].outputs[0]))
        channels = sum(_channels(network, operator) for operator in group)
        pixels, terms = math.prod(result[2:]), math.prod(weights[1:])
        map_bytes = (math.prod(source[1:]) + channels * pixels) * data.bits // 8
        if len(group) > 1 and map_bytes > _ROOM * processor.sram.size_bytes:
            return math.inf
        widths = passes(form, data, processor.matrix)
        array = min(
            array_cycles(pixels, terms, channels, 1, dataflow, processor.matrix, widths) for dataflow in ARRAY_DATAFLOWS
        )
        return processor.issue_cycles + both_engines_cycles(array, channels * pixels * terms, processor)


def layers_in(name: str) -> list[str]:
    """The layers that are done under a name: several of joined branches."""
    return name.split(_BESIDE)


def _is_plain(function: Conv) -> bool:
    inputs = set(roles(function))
    return function.groups == 1 and function.tail.pool is None and inputs <= {"data", "weight", "table"}


def _without_table(function: Conv) -> Conv:
    return msgspec.structs.replace(function, tail=msgspec.structs.replace(function.tail, table=False))


def _channels(network: Network, operator: Operator) -> int:
    return network.tensors[operator.inputs[1]].shape[0]


def _joined(network: Network, groups: list[_Group]) -> Network:
    """The network with each group as one operator in the place of its first."""
    rewriting = Rewriting(dict(network.tensors), dict(network.constants), [])
    group_of = {operator.outputs[0]: group for group in groups for operator in group}
    for operator in network.operators:
        group = group_of.get(operator.outputs[0], ())
        if not group:
            rewriting.operators.append(operator)
        elif operator is group[0]:
            _join(rewriting, network, group)
    return rewriting.result(network)


def _join(rewriting: Rewriting, network: Network, group: _Group) -> None:
    """One operator for all of a group, and the part of its result for each."""
    first = group[0]
    assert isinstance(first.function, Conv)
    counts = [_channels(network, operator) for operator in group]
    weights = network.tensors[first.inputs[1]]
    names = [first.inputs[0], rewriting.new(f"{first.layer}.joined", _with_count(weights, sum(counts)))]
    known = [network.constants.get(operator.inputs[1]) for operator in group]
    stored = [each for each in known if each is not None]
    if len(stored) == len(group):
        rewriting.constants[names[1]] = np.concatenate(stored)
    function = _without_table(first.function)
    if any(len(operator.inputs) > 2 for operator in group):
        function = msgspec.structs.replace(function, tail=msgspec.structs.replace(function.tail, table=True))
        names.append(rewriting.new(f"{first.layer}.joined.table", Tensor("", (2, sum(counts)), FLOAT32, "constant")))
        tables = [_table(network, operator, count) for operator, count in zip(group, counts, strict=True)]
        if all(table is not None for table in tables):
            rewriting.constants[names[2]] = pack(np.concatenate([each for each in tables if each is not None], 1), 32)
    result = network.tensors[first.outputs[0]]
    whole = rewriting.new(f"{first.outputs[0]}.joined", resized(result, sum(counts)))
    layer = _BESIDE.join(operator.layer for operator in group)
    rewriting.operators.append(Operator(layer, function, tuple(names), (whole,)))
    start = 0
    for operator, count in zip(group, counts, strict=True):
        rewriting.show(operator.layer, whole, (start, start + count), operator.outputs[0])
        start += count


def _with_count(weights: Tensor, count: int) -> Tensor:
    return Tensor(weights.name, (count, *weights.shape[1:]), weights.format, weights.role)


def _table(network: Network, operator: Operator, count: int) -> NDArray[np.float32] | None:
    """Factors and offsets of an operator's channels, shape (2, channels); None where they are unknown."""
    if len(operator.inputs) < 3:
        return np.stack([np.ones(count, np.float32), np.zeros(count, np.float32)])
    stored = network.constants.get(operator.inputs[2])
    return None if stored is None else stored.view(np.float32).reshape(2, count)
