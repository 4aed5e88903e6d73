"""Select: for every convolution and matrix product, the dataflow with the fewest cycles, and with it the engine.

The pass prices whole layers, for all plans that follow. When a layer has been cut, each of its tiles, stripes and blocks gets
the dataflow that is quickest for that one (`cheapest`): a stripe has fewer pixels, and half the channels are a shorter stream.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec

from nas.compiler.network import Network
from nas.compiler.regions import place
from nas.compiler.tiling import engine_of, image_operands
from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Dataflow, Matmul
from nas.ir.program import Operator
from nas.ir.tensor import Region
from nas.timing.cycles import compute_cycles
from nas.timing.matrix import ARRAY_DATAFLOWS
from nas.timing.traffic import command_traffic, command_work

DATAFLOWS: tuple[Dataflow, ...] = (*ARRAY_DATAFLOWS, "lanes")


@dataclass(frozen=True)
class SelectDataflow:
    """Prices the whole layer on chip with each dataflow and keeps the cheapest; ties go to the first."""

    dataflows: tuple[Dataflow, ...] = DATAFLOWS
    name: str = "select"
    why: str = (
        "many pixels want stationary weights, few stationary outputs, or a stationary map where there are more channels "
        "than terms; depthwise layers the vector lanes"
    )

    def run(self, network: Network, processor: Processor) -> Network:
        operators = tuple(
            self._select(operator, network, processor) if isinstance(operator.function, Conv | Matmul) else operator
            for operator in network.operators
        )
        return replace(network, operators=operators)

    def _select(self, operator: Operator, network: Network, processor: Processor) -> Operator:
        assert isinstance(operator.function, Conv | Matmul)
        reads = [place(network.tensors[name], "sram", 0) for name in operator.inputs]
        write = place(network.tensors[operator.outputs[0]], "sram", 0)
        parts, target = image_operands(operator, network.tensors, reads, write)[0]
        best, _ = cheapest(operator.function, parts, target, self.dataflows, processor)
        return Operator(operator.layer, best, operator.inputs, operator.outputs)


def array_dataflows(switched_off: frozenset[str]) -> tuple[Dataflow, ...]:
    """Those that the array may work in: each has a switch of its name, and without `select` there is one for all."""
    if SelectDataflow.name in switched_off:
        return ("weight_stationary",)
    return tuple(each for each in ARRAY_DATAFLOWS if each not in switched_off)


# Layers are alike, within a network and from one of a search to the next; and so are their parts.
@lru_cache(maxsize=1 << 13)
def cheapest(
    function: Conv | Matmul,
    reads: tuple[Region, ...],
    write: Region,
    dataflows: tuple[Dataflow, ...],
    processor: Processor,
) -> tuple[Conv | Matmul, int]:
    """The function with the one of `dataflows` that takes the fewest cycles, the first of equals, and these cycles."""
    command = Command(engine_of(function), "", reads, (write,), function)
    work, sram_bytes = command_work(command), command_traffic(command).sram_bytes
    best, best_cycles = function, -1
    for dataflow in dataflows:
        tried = msgspec.structs.replace(function, dataflow=dataflow)
        command = Command(engine_of(tried), "", reads, (write,), tried)
        cycles = compute_cycles(command, processor, work, sram_bytes)
        if best_cycles < 0 or cycles < best_cycles:
            best, best_cycles = tried, cycles
    return best, best_cycles
