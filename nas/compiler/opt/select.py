"""Select: for every convolution and matrix product, the dataflow with the fewest cycles, and with it the engine."""

from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec

from nas.compiler.network import Network
from nas.compiler.regions import place
from nas.compiler.tiling import Part, image_operands, part_cycles
from nas.hw.spec import Processor
from nas.ir.command import Conv, Dataflow, Matmul
from nas.ir.program import Operator
from nas.ir.tensor import Region

DATAFLOWS: tuple[Dataflow, ...] = ("weight_stationary", "output_stationary", "lanes")


@dataclass(frozen=True)
class SelectDataflow:
    """Prices the whole layer on chip with each dataflow and keeps the cheapest; ties go to the first."""

    name: str = "select"
    why: str = "few pixels want stationary outputs, many want stationary weights, depthwise layers the vector lanes"

    def run(self, network: Network, processor: Processor) -> Network:
        operators = tuple(
            self._select(operator, network, processor) if isinstance(operator.function, Conv | Matmul) else operator
            for operator in network.operators
        )
        return replace(network, operators=operators)

    @staticmethod
    def _select(operator: Operator, network: Network, processor: Processor) -> Operator:
        assert isinstance(operator.function, Conv | Matmul)
        reads = [place(network.tensors[name], "sram", 0) for name in operator.inputs]
        write = place(network.tensors[operator.outputs[0]], "sram", 0)
        parts, target = image_operands(operator, network.tensors, reads, write)[0]
        best = _cheapest(operator.function, parts, target, processor)
        return Operator(operator.layer, best, operator.inputs, operator.outputs)


# Layers are alike, within a network and from one of a search to the next.
@lru_cache(maxsize=1 << 12)
def _cheapest(
    function: Conv | Matmul, parts: tuple[Region, ...], target: Region, processor: Processor
) -> Conv | Matmul:
    best, best_cycles = function, -1
    for dataflow in DATAFLOWS:
        tried = msgspec.structs.replace(function, dataflow=dataflow)
        cycles = part_cycles(Part(tried, parts, target), processor)
        if best_cycles < 0 or cycles < best_cycles:
            best, best_cycles = tried, cycles
    return best
