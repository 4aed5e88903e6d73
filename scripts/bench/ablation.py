"""What each pass of the optimiser is worth: how many times as long programs take without it, geometric means over networks.

    <processor> <pass>         cycles of the parallel program without the pass over those with all of them
    <processor> <pass>, most   the same of the network that misses it most

Networks are of 8-bit integers at 224x224, and on the meta device. Passes that make networks fit which could not run at all are 1 here.
"""

import statistics

import torchvision

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.pipeline import SWITCHES
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.hw.spec import Processor

NAME = "ablation"
_PROCESSORS = ("edge_npu", "micro_npu", "server_npu")
_NETWORKS = ("mobilenet_v2", "shufflenet_v2_x1_0", "resnet18", "googlenet", "regnet_y_400mf", "densenet121")


def run() -> list[tuple[str, float, str]]:
    """All passes on all processors."""
    rows = []
    for processor in map(find_processor, _PROCESSORS):
        whole = {name: _cycles(name, processor, frozenset()) for name in _NETWORKS}
        for switch in dict.fromkeys(SWITCHES):
            ratios = [_cycles(name, processor, frozenset([switch])) / whole[name] for name in _NETWORKS]
            rows.append((f"{processor.name} {switch}", statistics.geometric_mean(ratios), "x"))
            rows.append((f"{processor.name} {switch}, most", max(ratios), "x"))
    return rows


def _cycles(name: str, processor: Processor, without: frozenset[str]) -> int:
    keywords = {"init_weights": False} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **keywords).eval().to("meta")
    compiled = compile_network(network, (1, 3, 224, 224), processor, without, precision=Precision("int8"))
    assert isinstance(compiled, Compiled), f"{name} without {', '.join(without)}: {compiled}"
    return compiled.spread.trace.cycles
