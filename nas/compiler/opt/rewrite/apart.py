"""Apart: attention heads are done some at a time, where all together they overflow the chip, and some queries of one at a time.

Between two products there are maps of as many rows as tokens for every token, several of them float32: of all heads they
take megabytes, and of one what many a chip holds. Whether the program gains by it is a question for `opt.pipeline`.
"""

from dataclasses import dataclass

from nas.compiler.network import Network, tensor_bytes
from nas.compiler.parts.heads import cut_by_groups
from nas.compiler.parts.islands import Island, islands_between_products, size_of_parts, with_rows
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv

# Of the sram, what the largest operator of a part may read and write: a part is beside the next one, and weights. Some queries of a
# head are beside its keys and values, and get this part of what these leave; with 0.9 there was no room for what comes next.
_FILL, _FILL_OF_ROWS = 0.25, 0.6
# Of the array's columns, what queries at a time make at least: one in so many.
_NARROWEST = 8


@dataclass(frozen=True)
class Apart:
    """fill: the part of the sram that the largest operator of some heads may take; fill_of_rows: the part of what the data of a head
    leaves that of some queries may take, where one head takes more.
    """

    fill: float = _FILL
    fill_of_rows: float = _FILL_OF_ROWS
    name: str = "apart"
    why: str = "the maps of all attention heads together overflow the chip"

    def run(self, network: Network, processor: Processor) -> Network:
        sizes: dict[Island, int] = {}
        for island in islands_between_products(network):
            group_bytes = max(_map_bytes(network, index) for index in island.members) / island.groups
            size = int(self.fill * processor.sram.size_bytes / group_bytes)
            by_rows = with_rows(network, island) if size < 1 else island
            if by_rows.rows > 1:
                sizes[by_rows] = self._rows(network, by_rows, group_bytes / by_rows.rows, processor)
            elif size < island.groups > 1:
                sizes[island] = size_of_parts(network, island, max(1, size))
        return cut_by_groups(network, sizes)

    def _rows(self, network: Network, island: Island, row_bytes: float, processor: Processor) -> int:
        """How many at a time: as many as the columns of the array make, or several times that; fewer where so many overflow the chip."""
        products = [network.operators[index] for index in island.members]
        data = [network.tensors[each.inputs[0]] for each in products if isinstance(each.function, Conv)]
        data_bytes = sum(tensor_bytes(each) // island.groups for each in data)
        columns = processor.matrix.columns
        # The data alone may be more than the chip holds.
        rows = max(0, int(self.fill_of_rows * (processor.sram.size_bytes - data_bytes) / row_bytes))
        whole_folds = rows // columns * columns
        return min(whole_folds or max(rows, ceil_div(columns, _NARROWEST), 1), island.rows)


def _map_bytes(network: Network, index: int) -> int:
    """What an operator reads and writes, but for constants: of all images, since what passes between operators is there for all."""
    operator = network.operators[index]
    maps = [network.tensors[name] for name in (*operator.inputs, *operator.outputs)]
    return sum(tensor_bytes(each) for each in maps if each.role != "constant")
