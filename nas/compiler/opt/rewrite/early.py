"""Early: what the vector engine can begin while the matrix engine works on other branches stands before those.

Each engine takes its commands in their order, but buffers get their bytes in the order of the program: a pool that stands behind
the convolutions of the branches beside it would get bytes that these have used, and wait. Moved up to the last operator that
it reads from, it runs beside them. Its result lives longer then, so that it moves only where there is room all the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.compiler.network import Network
from nas.compiler.opt.layout.alive import alive_in
from nas.compiler.opt.layout.storage import COMPUTES
from nas.compiler.opt.rewrite.reorder import stretches
from nas.compiler.tiling import engine_of
from nas.hw.spec import Processor
from nas.ir.program import Operator

# Of the sram, what maps may take; weights need the rest.
_FILL = 0.9


@dataclass(frozen=True)
class Early:
    """fill: the part of the sram that maps may take."""

    fill: float = _FILL
    name: str = "early"
    why: str = "what the vector engine does of one branch runs beside what the matrix engine does of others"

    def run(self, network: Network, processor: Processor) -> Network:
        free = stretches(network)
        engines = [_engine(operator) for operator in network.operators]
        if not any({"vector", "matrix"} <= set(engines[first:last]) for first, last in free):
            return network
        order = list(range(len(engines)))
        room = _Room(network, int(self.fill * processor.sram.size_bytes))
        makers = {name: index for index, operator in enumerate(network.operators) for name in operator.outputs}
        for first, last in free:
            for index in range(first, last):
                if engines[index] != "vector":
                    continue
                read = {makers[name] for name in network.operators[index].inputs if name in makers}
                place = _place(order, first, index, read, engines)
                if place < index and room.take(index, place):
                    order.insert(place, order.pop(index))
        if order == sorted(order):
            return network
        return replace(network, operators=tuple(network.operators[index] for index in order))


def _engine(operator: Operator) -> str:
    return engine_of(operator.function) if isinstance(operator.function, COMPUTES) else ""


def _place(order: Sequence[int], first: int, index: int, read: set[int], engines: Sequence[str]) -> int:
    """Where operator `index` may move up to, behind what it reads and others of its engine; `index` if it passes nothing of the
    matrix engine there.
    """
    place = index
    while place > first and order[place - 1] not in read:
        place -= 1
    while place < index and engines[order[place]] == "vector":
        place += 1
    return place if any(engines[other] == "matrix" for other in order[place:index]) else index


class _Room:
    """The bytes of maps that live beside each operator."""

    def __init__(self, network: Network, room_bytes: int) -> None:
        self._alive, self._room_bytes = alive_in(network), room_bytes
        self._live_bytes = np.array(self._alive.bytes_by_operator(), np.int64)

    def take(self, index: int, place: int) -> bool:
        """Whether what operator `index` makes can live from `place` on; then it does."""
        begun = [name for name in self._alive.touched[index] if self._alive.spans[name][0] == index]
        more_bytes = sum(self._alive.sizes.get(name, 0) for name in begun)
        beside = self._live_bytes[place:index] + more_bytes
        if beside.max() > self._room_bytes:
            return False
        self._live_bytes[place] += more_bytes
        self._live_bytes[place + 1 : index + 1] = beside
        return True
