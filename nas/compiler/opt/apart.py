"""Apart: attention heads are done some at a time, where all together they overflow the chip, and some queries of one at a time.

Between two products there are maps of as many rows as tokens for every token, several of them float32: of all heads they
take megabytes, and of one what many a chip holds. Whether the program gains by it is a question for `quickest`.
"""

from dataclasses import dataclass

from nas.compiler.heads import Island, cut_by_groups, islands_between_products, size_of_parts, with_rows
from nas.compiler.network import Network, tensor_bytes
from nas.hw.spec import Processor

# Of the sram, what the largest operator of a part may read and write: a part is beside the next one, and weights. Parts of one
# head are beside its keys and values only; with 0.85 for them there was no room for what comes next.
_FILL, _FILL_OF_ROWS = 0.25, 0.5


@dataclass(frozen=True)
class Apart:
    """fill: the part of the sram that the largest operator of some heads may take; fill_of_rows: that of some queries of one head,
    where one head takes more.
    """

    fill: float = _FILL
    fill_of_rows: float = _FILL_OF_ROWS
    name: str = "apart"
    why: str = "the maps of all attention heads together overflow the chip"

    def run(self, network: Network, processor: Processor) -> Network:
        sizes: dict[Island, int] = {}
        for island in islands_between_products(network):
            need_bytes = max(_map_bytes(network, index) for index in island.members)
            chips = processor.sram.size_bytes / need_bytes
            size = int(self.fill * chips * island.groups)
            by_rows = with_rows(network, island) if size < 1 else island
            if by_rows.rows > 1:
                columns = processor.matrix.columns  # queries are what the columns of the array make
                rows = int(self.fill_of_rows * chips * island.groups * by_rows.rows) // columns * columns
                sizes[by_rows] = min(max(rows, columns), by_rows.rows)
            elif size < island.groups > 1:
                sizes[island] = size_of_parts(network, island, max(1, size))
        return cut_by_groups(network, sizes)


def _map_bytes(network: Network, index: int) -> int:
    """What one image of an operator reads and writes, but for constants."""
    operator = network.operators[index]
    maps = [network.tensors[name] for name in (*operator.inputs, *operator.outputs)]
    return sum(tensor_bytes(each) // each.shape[0] for each in maps if each.role != "constant")
