"""Apart: attention heads are done some at a time, where all together they overflow the chip.

Between two products there are maps of as many rows as tokens for every token, several of them float32: of all heads they
take megabytes, and of one what many a chip holds. Whether the program gains by it is a question for `quickest`.
"""

from dataclasses import dataclass

from nas.compiler.heads import Island, cut_by_groups, islands_between_products, size_of_parts
from nas.compiler.network import Network, tensor_bytes
from nas.hw.spec import Processor

# Of the sram, what the largest operator of a part may read and write: a part is beside the next one, and weights.
_FILL = 0.25


@dataclass(frozen=True)
class Apart:
    """fill: the part of the sram that the largest operator of a part may take, but for that of one head."""

    fill: float = _FILL
    name: str = "apart"
    why: str = "the maps of all attention heads together overflow the chip"

    def run(self, network: Network, processor: Processor) -> Network:
        sizes: dict[Island, int] = {}
        for island in islands_between_products(network):
            need_bytes = max(_map_bytes(network, index) for index in island.members)
            size = int(self.fill * processor.sram.size_bytes * island.groups / need_bytes)
            if size < island.groups:
                sizes[island] = size_of_parts(network, island, max(1, size))
        return cut_by_groups(network, sizes)


def _map_bytes(network: Network, index: int) -> int:
    """What one image of an operator reads and writes, but for constants."""
    operator = network.operators[index]
    maps = [network.tensors[name] for name in (*operator.inputs, *operator.outputs)]
    return sum(tensor_bytes(each) // each.shape[0] for each in maps if each.role != "constant")
