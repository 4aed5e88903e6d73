"""Where the order of the operators is changed, where it stays, and what the change is worth in simulated cycles."""

import itertools
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.opt.rewrite.reorder import Reorder, peak_bytes, stretches
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.passes import run_passes
from nas.compiler.precision import AS_IT_IS, Precision, network_in, network_to_price
from nas.core.errors import DoesNotFit
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values
from tests.networks import RandomBranches
from tests.processors import EDGE_NPU, with_sram


class Branches(nn.Module):
    """Three branches of three layers with wide maps; the same function, traced in one order or the other."""

    def __init__(self, breadth_first: bool, width: int = 24) -> None:
        super().__init__()
        self.breadth_first = breadth_first
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branches = nn.ModuleList(
            nn.ModuleList(
                [nn.Conv2d(8, width, 1), nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 4, 3, 2, padding=1)]
            )
            for _ in range(3)
        )
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ends = [self.stem(x)] * 3
        if self.breadth_first:
            for level in range(3):
                ends = [torch.relu(steps[level](end)) for steps, end in zip(self.branches, ends, strict=True)]
        else:
            for branch, steps in enumerate(self.branches):
                for step in steps:
                    ends[branch] = torch.relu(step(ends[branch]))
        return self.head(torch.cat(ends, 1))


def passed(module: nn.Module, shape: tuple[int, ...], processor: Processor = EDGE_NPU) -> Network:
    return run_passes(PASSES, network_to_price(module.eval().to("meta"), shape, processor, "int8"), processor)


def cycles_of(network: Network, processor: Processor, off: frozenset[str] = frozenset()) -> int:
    return simulate_parallel(parallelise(optimise(network, processor, off)[0]), processor).cycles


@pytest.mark.parametrize("kib", [48, 64, 96, 128])
def test_branches_traced_level_by_level_are_no_slower_than_one_after_the_other(kib: int) -> None:
    processor = with_sram(kib)
    breadth, depth = (passed(Branches(each), (1, 3, 48, 48)) for each in (True, False))
    off = frozenset(["reorder", "recompute"])
    assert cycles_of(breadth, processor) <= cycles_of(depth, processor, off)
    assert cycles_of(breadth, processor) < 0.8 * cycles_of(breadth, processor, off)


def test_the_branches_stand_one_behind_the_other() -> None:
    network = passed(Branches(True), (1, 3, 48, 48))
    reordered = Reorder().run(network, with_sram(64))
    names = [operator.layer.split(".")[1] for operator in reordered.operators if operator.layer.startswith("branches")]
    assert [name for name, _ in itertools.groupby(names)] == ["0", "1", "2"]
    assert peak_bytes(reordered) < 0.65 * peak_bytes(network)
    # With room for all of them the order is the traced one, and the very same network.
    assert Reorder().run(network, with_sram(512)) is network


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "densenet121"])
def test_chains_have_nothing_to_order(name: str) -> None:
    with torch.device("meta"):
        network = passed(get_model(name, weights=None), (1, 3, 224, 224))
    assert stretches(network) == []


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x1_0"])
def test_branches_that_were_traced_well_stay(name: str) -> None:
    with torch.device("meta"):
        network = passed(get_model(name, weights=None), (1, 3, 224, 224))
    assert stretches(network)
    for processor in (EDGE_NPU, find_processor("micro_npu")):
        assert Reorder().run(network, processor) is network


@pytest.mark.parametrize("seed", range(12))
def test_stretches_are_what_no_operator_divides(seed: int) -> None:
    network = passed(RandomBranches(np.random.default_rng(seed)), (1, 3, 16, 16))
    count = len(network.operators)
    makers = {name: index for index, each in enumerate(network.operators) for name in each.outputs}
    before: list[set[int]] = []
    for operator in network.operators:
        direct = {makers[name] for name in operator.inputs if name in makers}
        before.append(direct.union(*(before[index] for index in direct)))
    fixed = [
        index
        for index in range(count)
        if len(before[index]) == index and all(index in before[other] for other in range(index + 1, count))
    ]
    ends = [-1, *fixed, count]
    assert stretches(network) == [(a + 1, b) for a, b in itertools.pairwise(ends) if b - a > 2]


def test_what_is_written_over_is_read_before() -> None:
    """The sum takes the bytes of the map that another branch reads as well."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 32, 1), nn.Conv2d(8, 8, 3, padding=1)
            self.c = nn.Conv2d(32, 4, 3, 2, 1)
            self.d = nn.Conv2d(8, 4, 3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            wide, total = self.a(x), torch.relu(x + self.b(x))
            return torch.cat([self.c(wide), self.d(total)], 1).mean((2, 3))

    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = Sum().eval()
    results = []
    for off in (frozenset[str](), frozenset(["reorder"])):
        compiled = compile_network(
            network, (1, 3, 32, 32), with_sram(40), switched_off=off, precision=Precision("int8")
        )
        assert isinstance(compiled, Compiled)
        (values,) = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]}).values()
        results.append(([each.layer for each in compiled.optimised.operators], values))
    assert results[0][0] != results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_the_quicker_order_is_kept_and_the_traced_one_of_equals() -> None:
    network = passed(Branches(True), (1, 3, 48, 48))
    processor = with_sram(64)
    traced, other = (
        optimise(each, processor, frozenset(["reorder"])) for each in (network, Reorder().run(network, processor))
    )
    before, after = (simulate_parallel(parallelise(program), processor).cycles for program, _ in (traced, other))
    assert after < before
    assert optimise(network, processor)[0] == other[0]
    # A network that comes in the better order is planned once.
    again = replace(network, operators=other[0].operators)
    assert Reorder().run(again, processor) is again


def test_what_does_not_fit_says_so_in_either_order() -> None:
    tiny = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=256, banks=1)  # less than a row of one channel needs
    processor = msgspec.structs.replace(EDGE_NPU, sram=tiny)
    network = network_in(Branches(True).eval(), (1, 3, 48, 48), processor, AS_IT_IS, "branches")
    with pytest.raises(DoesNotFit):
        optimise(network, processor)
