"""Recompute: a map that waits through a peak for a late use is made a second time instead, where that is cheaper than dram.

    network  -waiting maps-> those that are made of little, over a peak  -_done_again-> the network with operators done twice

A map waits between two operators that touch it while others work. If more than the sram holds lives meanwhile, something has
to go to dram and to come back. A map that is made of less than itself (of the network's input, which lies in dram anyway, of
what lives on, or of a smaller map) can be given up instead, and its operator done again, under another name, right before
the late use; so can what that one reads in turn (T. Chen et al., "Training deep nets with sublinear memory cost", arXiv
1604.06174, do so between the passes of training). What nobody has read before then is not done twice, but later. By the model of costs that has to take less time than the map's way to dram
and back. Whether the program gains by it is another question, which `opt.pipeline` asks the simulator.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import msgspec

from nas.compiler.network import Network, tensor_bytes, unused_name
from nas.compiler.opt.layout.alive import alive_in
from nas.compiler.opt.layout.storage import COMPUTES
from nas.compiler.regions import place
from nas.compiler.tiling import Part, image_operands, part_cycles
from nas.hw.spec import Processor
from nas.ir.program import Operator, View
from nas.timing.cycles import transfer_cycles

# So many operators at most are done again for one map: each reads the one before it.
_DEPTH = 4
# So many maps are made again, and so many tried for each.
_MAPS, _TRIED = 8, 4
# What has to be held for it may take this part of the map.
_HELD = 0.5


@dataclass(frozen=True)
class Recompute:
    """depth: so many operators, each of which reads the one before it, are done again for one map."""

    depth: int = _DEPTH
    name: str = "recompute"
    why: str = (
        "what waits through a peak for a late use is made again instead, where that takes less time than dram does"
    )

    def run(self, network: Network, processor: Processor) -> Network:
        for _ in range(_MAPS):
            found = [
                each for each in _again(network, processor, self.depth) if _saved_cycles(network, each, processor) > 0
            ]
            if not found:
                return network
            better = _best(network, found, processor)
            if better is None:
                return network
            network = better
        return network


class Again(NamedTuple):
    """The map `name`, which nobody touches between the operators `first` and `late`, is made again right before `late`, by
    `operators`, in their order; moved: those of them that nobody needs before.
    """

    name: str
    first: int
    late: int
    operators: tuple[int, ...]
    moved: frozenset[int]


def _again(network: Network, processor: Processor, depth: int) -> Iterator[Again]:
    """The maps that wait, fit on chip, and can be made again of little."""
    sources = _Sources(network)
    for index, operator in enumerate(network.operators):
        name = operator.outputs[0]
        late_readers = sources.users.get(name, [])
        # Nothing waits where everything is read at once.
        if not late_readers or late_readers[-1] <= index + 1 or name in sources.in_dram:
            continue
        size_bytes = tensor_bytes(network.tensors[name])
        if size_bytes > processor.sram.size_bytes:
            continue
        for first, late in pairwise((index, *late_readers)):
            if late > first + 1:
                made = sources.of(name, late, depth)
                computes = made is not None and any(
                    isinstance(network.operators[i].function, COMPUTES) for i in made[0]
                )
                if made is not None and computes and made[1] <= _HELD * size_bytes:
                    yield Again(name, first, late, tuple(sorted(made[0])), sources.unread(made[0], late))


class _Sources:
    """What maps are made of."""

    def __init__(self, network: Network) -> None:
        self.network, self.users = network, network.users
        self.makers = {name: index for index, each in enumerate(network.operators) for name in each.outputs}
        self.in_dram = {*network.inputs, *network.outputs}

    def of(self, name: str, late: int, depth: int) -> tuple[frozenset[int], int] | None:
        """The operators that make `name` again before operator `late`, and the bytes that have to be held for them until
        then; None where that can't be done.
        """
        index = self.makers[name]
        operator = self.network.operators[index]
        if not depth or len(operator.outputs) > 1 or not isinstance(operator.function, COMPUTES | View):
            return None
        operators, held_bytes = frozenset([index]), 0
        for source in dict.fromkeys(operator.inputs):
            if source not in self.makers or source in self.in_dram or self.users[source][-1] >= late:
                continue
            size_bytes = tensor_bytes(self.network.tensors[source])
            made = self.of(source, late, depth - 1)
            if made is None or made[1] >= size_bytes:
                held_bytes += size_bytes
            else:
                operators, held_bytes = operators | made[0], held_bytes + made[1]
        return operators, held_bytes

    def unread(self, operators: frozenset[int], late: int) -> frozenset[int]:
        """Those whose results nobody but others of them reads before operator `late`."""
        found: frozenset[int] = frozenset()
        for index in sorted(operators, reverse=True):
            readers = {
                user for name in self.network.operators[index].outputs for user in self.users[name] if user < late
            }
            if readers <= found:
                found |= {index}
        return found


def _saved_cycles(network: Network, again: Again, processor: Processor) -> int:
    """The cycles of the map's way to dram and back, less those of what is done twice and of what that brings from dram."""
    cycles = 2 * transfer_cycles(tensor_bytes(network.tensors[again.name]), processor)
    outside = {*network.inputs, *network.outputs}
    for index in set(again.operators) - again.moved:
        operator = network.operators[index]
        cycles -= _work_cycles(operator, network, processor)
        for name in outside.intersection(operator.inputs):
            cycles -= transfer_cycles(tensor_bytes(network.tensors[name]), processor)
    return cycles


def _work_cycles(operator: Operator, network: Network, processor: Processor) -> int:
    if not isinstance(operator.function, COMPUTES):
        return 0
    reads = [place(network.tensors[name], "sram", 0) for name in operator.inputs]
    write = place(network.tensors[operator.outputs[0]], "sram", 0)
    images = image_operands(operator, network.tensors, reads, write)
    return len(images) * part_cycles(Part(operator.function, *images[0]), processor)


def _best(network: Network, found: list[Again], processor: Processor) -> Network | None:
    """The network with that map made again which saves most of those over whose wait too much lives; None if there is none."""
    room_bytes = processor.sram.size_bytes
    live = alive_in(network).bytes_by_operator()
    over = [each for each in found if max(live[each.first + 1 : each.late]) > room_bytes]
    for each in sorted(over, key=lambda each: (-_saved_cycles(network, each, processor), each.name, each.late))[
        :_TRIED
    ]:
        better = _done_again(network, each)
        if _overflow_bytes(alive_in(better).bytes_by_operator(), room_bytes) < _overflow_bytes(live, room_bytes):
            return better
    return None


def _overflow_bytes(live: list[int], room_bytes: int) -> int:
    """By how much all operators together are over the room."""
    return sum(max(0, size_bytes - room_bytes) for size_bytes in live)


def _done_again(network: Network, again: Again) -> Network:
    tensors = dict(network.tensors)
    renamed: dict[str, str] = {}
    copies = []
    for index in again.operators:
        operator = network.operators[index]
        (name,) = operator.outputs
        if index not in again.moved:
            renamed[name] = unused_name(name, tensors)
            tensors[renamed[name]] = msgspec.structs.replace(tensors[name], name=renamed[name])
        inputs = tuple(renamed.get(source, source) for source in operator.inputs)
        copies.append(Operator(operator.layer, operator.function, inputs, (renamed.get(name, name),)))
    before = [each for index, each in enumerate(network.operators[: again.late]) if index not in again.moved]
    late = {again.name: renamed.get(again.name, again.name)}
    behind = [
        msgspec.structs.replace(operator, inputs=tuple(late.get(name, name) for name in operator.inputs))
        for operator in network.operators[again.late :]
    ]
    return replace(network, operators=(*before, *copies, *behind), tensors=tensors)
