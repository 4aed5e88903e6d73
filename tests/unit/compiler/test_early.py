"""A pool beside convolutions: it begins as early as it may, where there is room, and runs while they do."""

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.opt.rewrite.early import Early
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision, network_to_price
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values

EDGE_NPU = find_processor("edge_npu")
OFF = frozenset(["early"])
SHAPE = (1, 3, 20, 20)


class Inception(nn.Module):
    """As in GoogLeNet: a 1x1, a 3x3 behind a 1x1, and a 1x1 behind a pool of the same input."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, width // 4, 1)
        self.reduce, self.wide = nn.Conv2d(width, width // 2, 1), nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.project = nn.Conv2d(width, width // 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.relu(self.wide(torch.relu(self.reduce(x))))
        pooled = self.project(nn.functional.max_pool2d(x, 3, 1, 1))
        return torch.cat([torch.relu(self.narrow(x)), wide, torch.relu(pooled)], 1)


def module_of(blocks: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), *(Inception() for _ in range(blocks))).eval()


def passed(processor: Processor, blocks: int = 3) -> Network:
    network = network_to_price(module_of(blocks), SHAPE, processor, "int8")
    return run_passes(PASSES, network, processor)


def kinds(network: Network) -> list[str]:
    return [operator.function.__struct_config__.tag for operator in network.operators]


def test_the_pool_stands_before_the_convolutions_beside_it() -> None:
    network = passed(EDGE_NPU, 1)
    assert kinds(network) == ["conv", "conv", "conv", "pool", "conv", "conv", "concat", "eltwise"]
    early = Early().run(network, EDGE_NPU)
    assert kinds(early) == ["conv", "pool", "conv", "conv", "conv", "conv", "concat", "eltwise"]
    assert Early().run(early, EDGE_NPU) is early


def test_without_room_or_branches_nothing_moves() -> None:
    tight = msgspec.structs.replace(EDGE_NPU, sram=msgspec.structs.replace(EDGE_NPU.sram, size_bytes=64 << 10))
    network = passed(tight)
    assert Early().run(network, tight) is network
    chain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2))
    network = run_passes(PASSES, network_to_price(chain.eval(), (1, 3, 28, 28), EDGE_NPU, "int8"), EDGE_NPU)
    assert Early().run(network, EDGE_NPU) is network


@pytest.mark.parametrize("name", ["edge_npu", "server_npu"])
def test_the_engines_work_at_the_same_time(name: str) -> None:
    processor = find_processor(name)
    network = passed(processor)
    on, off = (
        simulate_parallel(parallelise(optimise(network, processor, without)[0]), processor).cycles
        for without in (frozenset[str](), OFF)
    )
    assert on < 0.92 * off


def test_the_numbers_are_the_same() -> None:
    results = []
    for without in (frozenset[str](), OFF):
        compiled = compile_network(
            module_of(), (2, 3, 20, 20), EDGE_NPU, switched_off=without, precision=Precision("int8")
        )
        assert isinstance(compiled, Compiled)
        results.append(run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]}))
    on, off = results
    for key, expected in off.items():
        np.testing.assert_array_equal(on[key], expected)
