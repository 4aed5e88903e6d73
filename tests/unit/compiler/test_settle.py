"""What leaves the chip where not everything fits: maps that can pass in stripes, before any that would have to come back."""

import msgspec
import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.memo import Memo
from nas.compiler.opt.draft import draft_of
from nas.compiler.opt.layout.operands import layout_of
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.opt.plan.settle import Layouts, settle
from nas.compiler.opt.plan.stripes import Groups
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision, network_in
from nas.hw.load import find_processor
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.sim.values import run_values
from nas.timing.bounds import program_bounds

EDGE_NPU = find_processor("edge_npu")


class Residual(nn.Module):
    """x is read again after two wide maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.expand = nn.Sequential(nn.Conv2d(8, 24, 1), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.ReLU())
        self.project = nn.Conv2d(24, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return (x + self.project(self.middle(self.expand(x)))).mean((2, 3))


@pytest.mark.parametrize("sram_kib", [40, 48])
def test_what_is_read_again_stays_on_chip(sram_kib: int) -> None:
    """The maps take 8, 24, 24 and again 8 KiB: never all of them fit, and always those that are not between two operators."""
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=sram_kib << 10)
    processor = msgspec.structs.replace(EDGE_NPU, sram=sram)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = Residual().eval()
    results = []
    for off in (frozenset[str](), frozenset(["stripes"])):
        compiled = compile_network(network, (1, 3, 32, 32), processor, switched_off=off, precision=Precision("int8"))
        assert isinstance(compiled, Compiled)
        moved_bytes = simulate(compiled.optimised, processor).dram_bytes
        compulsory_bytes = program_bounds(compiled.optimised, processor).compulsory_bytes
        (name,) = (binding.name for binding in compiled.optimised.outputs)
        values = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]})[name]
        results.append((moved_bytes / compulsory_bytes, values))
    # 5 KiB are compulsory, and constants are laid out for the array in 5 more; x alone, to dram and back, would be 16.
    assert results[0][0] < 2.2
    assert results[1][0] > 4
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_a_sum_takes_the_place_of_what_is_added_wherever_both_stay_on_chip(name: str) -> None:
    """What is decided beside a buffer that leaves the chip in the end is decided anew: the last stages have room for all."""
    network = network_in(
        torchvision.models.get_model(name).eval().to("meta"), (1, 3, 224, 224), EDGE_NPU, Precision("int8")
    )
    network = run_passes(PASSES, network, EDGE_NPU)
    (layout, residency, groups, _), *_ = settle(
        Layouts(network, EDGE_NPU, frozenset()), EDGE_NPU.sram.size_bytes, Memo()
    )
    in_stripes = Groups(groups).results(network)
    free = layout_of(network).storage.in_place & residency.on_chip - in_stripes
    assert not free - layout.storage.in_place
    sums = [operator.outputs[0] for operator in network.operators if operator.layer.startswith(("layer3", "layer4"))]
    assert len(layout.storage.in_place.intersection(sums)) >= 7  # one of each block but those at a change of size


def test_the_next_operator_works_while_one_waits_for_the_dram() -> None:
    """DenseNet-121 norms large maps that lie in dram: what comes of them has room, but passes while the rest is still loaded."""
    network = torchvision.models.densenet121().eval().to("meta")
    network = run_passes(PASSES, network_in(network, (1, 3, 224, 224), EDGE_NPU, Precision("int8")), EDGE_NPU)
    memo = Memo()
    first, other, *_ = settle(Layouts(network, EDGE_NPU, frozenset()), EDGE_NPU.sram.size_bytes, memo)
    passing = Groups(other.groups).passing(network) & first.residency.on_chip
    assert any("denseblock2" in name for name in passing)
    programs = [draft_of(plan, EDGE_NPU, frozenset(), memo).program for plan in (first, other)]
    before, after = (simulate_parallel(parallelise(program), EDGE_NPU).cycles for program in programs)
    assert after < 0.95 * before
    chosen, _ = optimise(network, EDGE_NPU, memo=memo)
    assert simulate_parallel(parallelise(chosen), EDGE_NPU).cycles == after


class Gate(nn.Module):
    """x is read twice, and the product may lie where it did."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.head = nn.Sequential(nn.Conv2d(8, 32, 1), nn.Conv2d(32, 5, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(x * self.gate(x))


def test_what_passes_in_stripes_is_not_what_it_would_take_the_place_of_where_nothing_lives_on_chip() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Gate().eval()
    micro = find_processor("micro_npu")
    processor = msgspec.structs.replace(micro, sram=msgspec.structs.replace(micro.sram, size_bytes=6 << 10))
    compiled = compile_network(network, (1, 3, 17, 13), processor, switched_off=frozenset(["residency"]))
    assert isinstance(compiled, Compiled)
    (output,) = compiled.optimised.outputs
    values = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]})[output.name]
    np.testing.assert_allclose(values, compiled.truth[output.name], rtol=0, atol=1e-5)
