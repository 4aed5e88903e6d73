"""Reorder: of parallel branches one is finished before the next begins, where too much lives at a time in the order as traced.

    network  -stretches-> operators that need not stay in their order  -least_peak-> the network in a better order

A stretch lies between two operators that all others come before or behind, so that each can be ordered for itself. One
that lives within the sram stays as it is. Another is ordered for the lowest peak of live bytes; of the orders that are as
low (or within the sram) it gets the one in which most operators stand right behind one that they read, since maps between
two such operators can pass in stripes. Where it neither comes to lie within the sram nor gains in that, it stays as well: with
a lower peak that still overflows Inception v3 and ShuffleNet v2 were between 0.3 % faster and 6 % slower.
"""

from dataclasses import dataclass, replace

from nas.compiler.network import Network
from nas.compiler.opt.layout.alive import alive_in
from nas.compiler.opt.rewrite.least_peak import Orders, Step
from nas.hw.spec import Processor

# So many sets of operators are looked at in a stretch. A dozen operators seldom have more; of 24 and of 40 in random graphs
# many times as many found no lower peak.
_SETS = 4000
_LEAST_WIDTH = 16
# A longer stretch is one of many parts of heads, each as good as the next: it stays as it is.
_LONGEST = 256


@dataclass(frozen=True)
class Reorder:
    """sets: about so many sets of operators are looked at in each stretch; where there are more it is no longer exact."""

    sets: int = _SETS
    name: str = "reorder"
    why: str = "of parallel branches one is finished before the next begins, so that fewer maps live at a time"

    def run(self, network: Network, processor: Processor) -> Network:
        free = stretches(network)
        if not free:
            return network
        plan = _Plan(network)
        order = list(range(len(network.operators)))
        for first, last in plan.over(free, processor.sram.size_bytes):
            width = max(_LEAST_WIDTH, self.sets // (last - first))
            order[first:last] = plan.ordered(first, last, width, processor.sram.size_bytes)
        if order == sorted(order):
            return network
        reordered = replace(network, operators=tuple(network.operators[index] for index in order))
        # Of two concats that read one map the later has it, so that another order can have other buffers.
        return reordered if peak_bytes(reordered) <= peak_bytes(network) else network


def peak_bytes(network: Network) -> int:
    """The most bytes of maps that live at one time in the order of the operators, but for those that lie in dram anyway."""
    return max(alive_in(network).bytes_by_operator(), default=0)


def stretches(network: Network) -> list[tuple[int, int]]:
    """(first, last) of the operators first..last - 1 that can be done in several orders, all between two that are fixed."""
    operators = network.operators
    count = len(operators)
    makers = {name: index for index, operator in enumerate(operators) for name in operator.outputs}
    latest_maker = [max((makers.get(name, -1) for name in operator.inputs), default=-1) for operator in operators]
    first_reader = [count] * count
    for index, operator in enumerate(operators):
        for name in operator.inputs:
            if name in makers:
                first_reader[makers[name]] = min(first_reader[makers[name]], index)
    # An operator is behind all before it if each of them is read up to there, and before all behind it if each of those
    # reads something that is made from there on.
    earliest_behind = [count] * (count + 1)
    for index in reversed(range(count)):
        earliest_behind[index] = min(earliest_behind[index + 1], latest_maker[index])
    found: list[tuple[int, int]] = []
    start = furthest_read = 0
    for index in range(count + 1):
        if index == count or furthest_read <= index <= earliest_behind[index + 1]:
            if index - start > 1:
                found.append((start, index))
            start = index + 1
        if index < count:
            furthest_read = max(furthest_read, first_reader[index])
    return found


class _Plan:
    """The operators of a network and the buffers that they touch, in the order as traced."""

    def __init__(self, network: Network) -> None:
        self._network, self._alive = network, alive_in(network)
        self._number_of = {name: number for number, name in enumerate(self._alive.sizes)}
        self._sizes_bytes = list(self._alive.sizes.values())
        self._makers = {name: index for index, each in enumerate(network.operators) for name in each.outputs}

    def over(self, free: list[tuple[int, int]], room_bytes: int) -> list[tuple[int, int]]:
        """Those of the stretches that are over the room in the order as traced."""
        live = self._alive.bytes_by_operator()
        return [
            (first, last) for first, last in free if last - first <= _LONGEST and max(live[first:last]) > room_bytes
        ]

    def ordered(self, first: int, last: int, width: int, room_bytes: int) -> list[int]:
        """The operators first..last - 1 in the order in which to do them."""
        steps = [
            Step(
                frozenset(before - first for before in self._before(index) if before >= first),
                frozenset(self._number_of[name] for name in self._alive.touched[index] if name in self._number_of),
            )
            for index in range(first, last)
        ]
        orders = Orders(steps, self._sizes_bytes, self._alive_at(first), self._alive_at(last))
        best = _better(orders, last - first, width, room_bytes)
        return [first + number for number in best]

    def _before(self, index: int) -> set[int]:
        """The operators that have to come before one: those that make what it reads, and those that read what it writes over."""
        operator = self._network.operators[index]
        before = {self._makers[name] for name in operator.inputs if name in self._makers}
        for name in operator.outputs:
            if name in self._alive.storage.in_place:
                buffer = self._alive.storage.regions[name].memory
                before.update(other for other in self._alive.touching[buffer] if other < index)
        return before

    def _alive_at(self, place: int) -> frozenset[int]:
        """The buffers that are touched before operator `place` and from there on."""
        spans = self._alive.spans
        return frozenset(number for name, number in self._number_of.items() if spans[name][0] < place <= spans[name][1])


def _better(orders: Orders, count: int, width: int, room_bytes: int) -> tuple[int, ...]:
    """Another order than the one as traced, which is over the room, if the other is within or has fewer jumps."""
    traced = tuple(range(count))
    lowest = orders.lowest(width, room_bytes)
    price = orders.price(lowest)
    if price.peak_bytes <= room_bytes:
        return orders.straightest(width, room_bytes, price.jumps) or lowest
    return orders.straightest(width, price.peak_bytes, orders.price(traced).jumps - 1) or traced
