"""Tensors with their bytes, operators in their order -> the buffers that live while each operator is done."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from nas.compiler.network import Network
from nas.compiler.opt.layout.storage import Storage, assign_storage
from nas.compiler.regions import aligned
from nas.ir.program import Concat, View


@dataclass(frozen=True)
class Alive:
    """touched: the buffers of each operator; spans: of each buffer, the first and the last operator that touch it; sizes: of those
    that may live on chip, the bytes.
    """

    storage: Storage
    touched: list[set[str]]
    spans: dict[str, tuple[int, int]]
    sizes: dict[str, int]

    @cached_property
    def touching(self) -> dict[str, list[int]]:
        """The operators that touch each buffer."""
        touching: dict[str, list[int]] = {}
        for index, names in enumerate(self.touched):
            for name in names:
                touching.setdefault(name, []).append(index)
        return touching

    def bytes_by_operator(self) -> list[int]:
        """The bytes that live at each operator, but for those that lie in dram anyway."""
        changes = [0] * (len(self.touched) + 1)
        for name, size_bytes in self.sizes.items():
            first, last = self.spans[name]
            changes[first] += size_bytes
            changes[last + 1] -= size_bytes
        return list(accumulate(changes))[:-1]


def alive_in(network: Network, storage: Storage | None = None) -> Alive:
    """storage: as it is assigned in this order, if not given."""
    storage = assign_storage(network) if storage is None else storage
    touched = touched_buffers(network, storage)
    spans: dict[str, tuple[int, int]] = {}
    for index, names in enumerate(touched):
        for name in names:
            spans[name] = (spans.get(name, (index, index))[0], index)
    buffers = storage.buffers.items()
    sizes = {name: aligned(each.size_bytes) for name, each in buffers if not each.in_dram and name in spans}
    return Alive(storage, touched, spans, sizes)


def touched_buffers(network: Network, storage: Storage) -> list[set[str]]:
    """The buffers that each operator reads or writes; a view or concat touches only what it has to move."""
    touched = []
    for index, operator in enumerate(network.operators):
        if isinstance(operator.function, View | Concat):
            moves = storage.moves.get(index, [])
            touched.append({region.memory for move in moves for region in move})
        else:
            names = (*operator.inputs, *operator.outputs)
            touched.append({storage.regions[name].memory for name in names if name in storage.regions})
    return touched
