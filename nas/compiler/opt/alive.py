"""A network in the order of its operators -> the maps that live while each of them is done, before anybody plans."""

from dataclasses import dataclass
from itertools import accumulate

from nas.compiler.network import Network
from nas.compiler.opt.residency import spans_of, touched_buffers
from nas.compiler.opt.storage import Storage, assign_storage
from nas.compiler.regions import aligned


@dataclass(frozen=True)
class Alive:
    """touched: the buffers of each operator; sizes, spans: of those that may live on chip, the bytes and the first and last operator."""

    storage: Storage
    touched: list[set[str]]
    sizes: dict[str, int]
    spans: dict[str, tuple[int, int]]

    def bytes_by_operator(self) -> list[int]:
        """The bytes that live at each operator, but for those that lie in dram anyway."""
        changes = [0] * (len(self.touched) + 1)
        for name, (first, last) in self.spans.items():
            changes[first] += self.sizes[name]
            changes[last + 1] -= self.sizes[name]
        return list(accumulate(changes))[:-1]


def alive_in(network: Network) -> Alive:
    """With storage as it is assigned in this order."""
    storage = assign_storage(network)
    touched = touched_buffers(network, storage)
    sizes = {name: aligned(each.size_bytes) for name, each in storage.buffers.items() if not each.in_dram}
    spans = {name: span for name, span in spans_of(touched).items() if name in sizes}
    return Alive(storage, touched, sizes, spans)
