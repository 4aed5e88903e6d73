"""How good the compiled programs are, on three processors, against bounds that hold for any compiler: ratios, 1 is best.

    latency/bound       simulated cycles of the parallel program over `nas.timing.bounds`
    naive/latency       how many times as long the naive program takes; sequential/latency: the optimised one, engine by engine
    traffic/compulsory  bytes of dram moved over those that must move
    latency/wide-ports  simulated cycles over those with ports so wide that there are no bank conflicts
    SRAM/live           the highest address in use over the most bytes that live at one time (where that spares conflicts,
                        buffers are spread over the pages of the sram, and the highest address says little)

Networks are of 8-bit integers, and on the meta device: their weights do not matter here. Geometric means, over the networks
that fit a processor, close the list.
"""

import statistics
from collections.abc import Iterator

import msgspec
import torchvision

from nas.compiler.driver import compile_network
from nas.compiler.precision import Precision
from nas.core.errors import Violation
from nas.cost.liveness import live_bytes
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.timing.bounds import program_bounds

NAME = "code_quality"
_PROCESSORS = ("edge_npu", "micro_npu", "server_npu")
_NETWORKS = (
    "mobilenet_v2",
    "shufflenet_v2_x1_0",
    "resnet18",
    "mobilenet_v3_small",
    "mnasnet1_0",
    "squeezenet1_1",
    "efficientnet_b0",
    "regnet_y_400mf",
    "resnet50",
    "densenet121",
    "alexnet",
)
Row = tuple[str, float, str]


def run() -> list[Row]:
    """All networks on all processors."""
    rows: list[Row] = []
    for processor in map(find_processor, _PROCESSORS):
        here = [row for name in _NETWORKS for row in _rows(name, processor)]
        names = {what.split()[1] for what, _, _ in here}
        here.append((f"{processor.name} networks that fit, of {len(_NETWORKS)}", float(len(names)), ""))
        for figure in dict.fromkeys(what.split()[-1] for what, _, unit in here if unit):
            ratios = [value for what, value, _ in here if what.split()[-1] == figure]
            here.append((f"{processor.name} geometric mean {figure}", statistics.geometric_mean(ratios), "x"))
        rows += here
    return rows


def _rows(name: str, processor: Processor) -> Iterator[Row]:
    network = torchvision.models.get_model(name, weights=None).eval().to("meta")
    compiled = compile_network(network, (1, 3, 224, 224), processor, precision=Precision("int8"))
    if isinstance(compiled, Violation):
        return
    cycles = simulate_parallel(compiled.parallel, processor).cycles
    bounds = program_bounds(compiled.optimised, processor)
    moved_bytes = sum(span.dram_bytes for span in simulate(compiled.optimised, processor).spans)
    figures = {
        "latency/bound": cycles / bounds.cycles,
        "naive/latency": simulate(compiled.naive, processor).cycles / cycles,
        "sequential/latency": simulate(compiled.optimised, processor).cycles / cycles,
        "traffic/compulsory": moved_bytes / bounds.compulsory_bytes,
        "latency/wide-ports": cycles / simulate_parallel(compiled.parallel, _with_wide_ports(processor)).cycles,
        "SRAM/live": compiled.optimised.used_bytes["sram"] / live_bytes(compiled.optimised),
    }
    for figure, ratio in figures.items():
        yield f"{processor.name} {name} {figure}", ratio, "x"


def _with_wide_ports(processor: Processor) -> Processor:
    sram = msgspec.structs.replace(processor.sram, port_bytes=processor.sram.size_bytes)
    return msgspec.structs.replace(processor, sram=sram)
