"""Chains of maps that are too large for the chip: the same numbers, without the traffic."""

import math

import msgspec
import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.ir.command import Load
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.sim.values import run_values
from nas.timing.bounds import program_bounds
from tests.networks import draw_statistics

EDGE_NPU = find_processor("edge_npu")
SMALL = msgspec.structs.replace(EDGE_NPU, sram=msgspec.structs.replace(EDGE_NPU.sram, size_bytes=48 * 1024, banks=1))


def inverted_residual_chain() -> nn.Module:
    """Maps of up to 128 KiB between layers whose inputs and outputs take 16 KiB."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 32, 1),
            nn.ReLU6(),
            nn.Conv2d(32, 32, 3, padding=1, stride=2, groups=32),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            nn.Conv2d(32, 4, 1),
            nn.Conv2d(4, 8, 5, padding=2),
            nn.MaxPool2d(3, 2, 1),
        )
    draw_statistics(network, torch.Generator().manual_seed(0))
    return network


@pytest.mark.parametrize(("batch", "most"), [(1, 1.6), (2, 2.2)])
def test_stripes_save_the_traffic_and_change_no_number(batch: int, most: float) -> None:
    shape = (batch, 3, 32, 32)
    with_stripes, without = (
        compile_network(inverted_residual_chain(), shape, SMALL, switched_off=frozenset(switched_off))
        for switched_off in ([], ["stripes"])
    )
    assert isinstance(with_stripes, Compiled)
    assert isinstance(without, Compiled)
    inputs = {"input": with_stripes.truth["input"]}
    (name,) = (binding.name for binding in with_stripes.optimised.outputs)
    striped = run_values(with_stripes.optimised, with_stripes.constants, inputs)[name]
    plain = run_values(without.optimised, without.constants, inputs)[name]
    np.testing.assert_array_equal(striped, plain)
    np.testing.assert_allclose(striped, with_stripes.truth[name], atol=1e-5)
    compulsory_bytes = program_bounds(with_stripes.optimised, SMALL).compulsory_bytes
    moved_bytes, moved_without_bytes = (
        simulate(compiled.optimised, SMALL).dram_bytes for compiled in (with_stripes, without)
    )
    assert moved_bytes < most * compulsory_bytes
    assert moved_without_bytes > 3 * compulsory_bytes


class Widening(nn.Module):
    """A residual block with a convolution in the skip, as where a ResNet gets wider: two maps of 128 KiB meet in a sum."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 32, 1)
        self.skip, self.after = nn.Conv2d(4, 32, 1), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(nn.functional.relu(self.wide(self.narrow(x)) + self.skip(x)))
        return result


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("after", [nn.Conv2d(32, 2, 1), nn.Conv2d(32, 2, 3, 2, 1)])
def test_what_is_added_in_the_end_passes_in_stripes(batch: int, after: nn.Module) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Widening(after)
    compiled = [
        compile_network(network, (batch, 4, 32, 32), SMALL, switched_off=frozenset(switched_off))
        for switched_off in ([], ["stripes"])
    ]
    moved_bytes = []
    for each in compiled:
        assert isinstance(each, Compiled)
        (name,) = (binding.name for binding in each.optimised.outputs)
        made = run_values(each.optimised, each.constants, {"input": each.truth["input"]})[name]
        np.testing.assert_allclose(made, each.truth[name], atol=1e-5)
        moved_bytes.append(simulate(each.optimised, SMALL).dram_bytes)
    # Neither summand, nor the sum where a reader follows in the chain, goes to dram and back.
    assert moved_bytes[1] - moved_bytes[0] >= batch * 2 * 32 * 32 * 32 * 4


class Bottleneck(nn.Module):
    """x is read first and, when three convolutions are done, again: as in the blocks of a ResNet that keep their size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 1)
        self.convs = nn.Sequential(nn.Conv2d(32, 4, 1), nn.Conv2d(4, 4, 3, stride, 1), nn.Conv2d(4, 32, 1))
        self.skip = nn.Identity() if stride == 1 else nn.Conv2d(32, 32, 1, stride)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.stem(image))
        return nn.functional.relu(self.convs(x) + self.skip(x))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("stride", "size", "sram_kib"), [(1, 61, 96), (2, 64, 64), (2, 61, 64)])
def test_what_is_read_at_both_ends_of_a_chain_is_loaded_once(batch: int, stride: int, size: int, sram_kib: int) -> None:
    processor = msgspec.structs.replace(SMALL, sram=msgspec.structs.replace(SMALL.sram, size_bytes=sram_kib << 10))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Bottleneck(stride)
    results, loaded_bytes = [], []
    for off in ([], ["stripes"]):
        compiled = compile_network(
            network, (batch, 3, size, size), processor, switched_off=frozenset(off), precision=Precision("int8")
        )
        assert isinstance(compiled, Compiled)
        results.append(run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]}))
        loads = [each for each in compiled.optimised.commands if isinstance(each.attributes, Load)]
        constant_bytes = sum(map(len, compiled.constants.values()))
        loaded_bytes.append(sum(each.reads[0].payload_bytes for each in loads) - constant_bytes)
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])
    # The map once, the rows that stripes have in common, and the image.
    x_bytes, image_bytes = (batch * channels * size * size for channels in (32, 3))
    assert loaded_bytes[0] - image_bytes < 1.7 * x_bytes
    assert loaded_bytes[0] < loaded_bytes[1] - 0.2 * x_bytes


def test_a_batch_takes_no_longer_an_image_than_one_image_alone() -> None:
    """Its maps are too many for the chip; so a chain has to end where its halo costs more than the traffic that it saves."""
    layers = torchvision.models.mobilenet_v2(weights=None).eval().to("meta").features[:4]
    cycles = []
    for batch in (1, 4):
        compiled = compile_network(layers, (batch, 3, 224, 224), EDGE_NPU, precision=Precision("int8"))
        assert isinstance(compiled, Compiled)
        cycles.append(simulate_parallel(compiled.parallel, EDGE_NPU).cycles / batch)
    assert cycles[1] < 1.02 * cycles[0]


def test_the_images_of_a_batch_pass_one_after_the_other() -> None:
    """A stripe may be a whole image: no row is made twice, and the array is filled as seldom as for one image alone."""
    layers = torchvision.models.mobilenet_v2(weights=None).eval().to("meta").features[8:12]
    compiled = compile_network(layers, (8, 64, 14, 14), EDGE_NPU, precision=Precision("int8"))
    assert isinstance(compiled, Compiled)
    made = sum(
        math.prod(command.writes[0].shape)
        for command in compiled.optimised.commands
        if command.layer == "8.conv.0.0" and command.engine in ("matrix", "vector")
    )
    assert made == 8 * 384 * 14 * 14
