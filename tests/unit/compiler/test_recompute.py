"""Which maps are made a second time, which are not, and what that is worth in simulated cycles."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES, check_switches, optimise
from nas.compiler.opt.rewrite.recompute import Recompute
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision, network_to_price
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.sim.values import run_values
from nas.timing.bounds import program_bounds
from tests.processors import EDGE_NPU, with_sram

OFF = frozenset(["recompute"])


class Decoder(nn.Module):
    """What the first layers make of the image waits until the end (as in U-Net, O. Ronneberger et al., arXiv 1505.04597)."""

    def __init__(self, kernel: int = 3, pooled: bool = False, image: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(image, 16, kernel, padding=kernel // 2)
        self.pool = nn.AvgPool2d(3, 1, 1) if pooled else nn.Identity()
        self.down1, self.down2 = nn.Conv2d(16, 64, 3, 2, padding=1), nn.Conv2d(64, 128, 3, 2, padding=1)
        self.middle = nn.Conv2d(128, 128, 3, padding=1)
        self.up1, self.up2 = nn.Conv2d(128, 64, 1), nn.Conv2d(16, 64, 1)
        self.head = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.pool(torch.relu(self.stem(x)))
        x = torch.relu(self.middle(torch.relu(self.down2(torch.relu(self.down1(skip))))))
        x = _larger(torch.relu(self.up2(_larger(torch.relu(self.up1(x))))))
        return self.head(torch.cat([skip, x], 1))


def _larger(x: torch.Tensor) -> torch.Tensor:
    """Four channels become a square of four places, by views alone."""
    images, channels, rows, columns = x.shape
    squares = x.view(images, channels // 4, 2, 2, rows, columns).permute(0, 1, 4, 2, 5, 3)
    return squares.reshape(images, channels // 4, 2 * rows, 2 * columns)


def network_of(module: nn.Module, processor: Processor, size: int = 64, channels: int = 3) -> Network:
    shape = (1, channels, size, size)
    return run_passes(PASSES, network_to_price(module.eval().to("meta"), shape, processor, "int8"), processor)


def done_again(network: Network, processor: Processor, depth: int = 4) -> list[str]:
    """The layers whose operators are done a second time."""
    known = {name for operator in network.operators for name in operator.outputs}
    operators = Recompute(depth).run(network, processor).operators
    return [each.layer for each in operators if not known.issuperset(each.outputs)]


def test_a_map_of_the_image_is_made_again_right_before_its_late_use() -> None:
    processor = with_sram(192)
    network = network_of(Decoder(), processor)
    again = Recompute().run(network, processor)
    assert done_again(network, processor) == ["stem"]
    (place,) = [i for i, each in enumerate(again.operators) if each not in network.operators and each.layer == "stem"]
    first, copy, late = again.operators[0], again.operators[place], again.operators[place + 1]
    assert (copy.function, copy.inputs) == (first.function, first.inputs)  # of the very same weights
    assert copy.outputs[0] in late.inputs
    assert not any(first.outputs[0] in each.inputs for each in again.operators[place:])
    assert again.tensors[copy.outputs[0]] == msgspec.structs.replace(
        network.tensors[first.outputs[0]], name=copy.outputs[0]
    )


def test_it_is_worth_a_fifth_of_the_time_with_the_same_numbers() -> None:
    processor, made = with_sram(192), []
    for off in (frozenset[str](), OFF):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            module = Decoder().eval()
        compiled = compile_network(module, (1, 3, 64, 64), processor, switched_off=off, precision=Precision("int8"))
        assert isinstance(compiled, Compiled)
        made.append(compiled)
    on, off = (simulate_parallel(each.parallel, processor).cycles for each in made)
    assert on < 0.8 * off
    moved = [sum(span.dram_bytes for span in simulate(each.optimised, processor).spans) for each in made]
    assert moved[0] < moved[1]
    inputs = {"input": made[0].truth["input"]}
    values = [run_values(each.optimised, each.constants, inputs) for each in made]
    for name, expected in values[1].items():
        np.testing.assert_array_equal(values[0][name], expected)
    # What is done twice need be done but once: the bound does not move.
    assert program_bounds(made[0].optimised, processor) == program_bounds(made[1].optimised, processor)


def test_float_values_are_those_of_pytorch() -> None:
    processor = with_sram(4 * 192)
    compiled = compile_network(Decoder().eval(), (1, 3, 64, 64), processor)
    assert isinstance(compiled, Compiled)
    assert [each.layer for each in compiled.optimised.operators].count("stem") == 2
    values = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]})
    for name, got in values.items():
        np.testing.assert_allclose(got, compiled.truth[name], rtol=1e-4, atol=1e-5)


def test_what_fits_stays_as_it_is() -> None:
    processor = with_sram(512)
    network = network_of(Decoder(), processor)
    assert Recompute().run(network, processor) is network
    assert optimise(network, processor)[0] == optimise(network, processor, check_switches(OFF))[0]


@pytest.mark.parametrize(
    ("module", "channels"),
    [
        (Decoder(kernel=15), 3),  # dearer than its way through dram
        (Decoder(image=48), 48),  # the image is larger than what is made of it, so that nothing is saved
    ],
)
def test_what_is_dear_is_not_made_again(module: Decoder, channels: int) -> None:
    processor = with_sram(192)
    if channels > 3:
        dram = msgspec.structs.replace(processor.dram, bandwidth_bytes_per_s=4e8)
        processor = msgspec.structs.replace(processor, dram=dram)
    assert done_again(network_of(module, processor, channels=channels), processor) == []


def test_a_pooled_map_is_made_again_together_with_what_it_is_made_of() -> None:
    processor = with_sram(192)
    network = network_of(Decoder(pooled=True), processor)
    assert done_again(network, processor) == ["stem", "pool"]
    assert done_again(network, processor, depth=1) == []


def test_new_names_are_new() -> None:
    processor = with_sram(192)
    network = network_of(Decoder(), processor)
    (name,) = network.operators[0].outputs
    taken = {f"{name}#2": msgspec.structs.replace(network.tensors[name], name=f"{name}#2")}
    again = Recompute().run(replace(network, tensors={**network.tensors, **taken}), processor)
    assert [each.outputs for each in again.operators if each.outputs == (f"{name}#3",)]


def test_what_nobody_reads_before_is_done_later_and_once() -> None:
    """The projection of a block that is traced before the block's own layers, as torchvision's RegNet has it."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.down = nn.Conv2d(3, 24, 1, stride=2), nn.Conv2d(3, 96, 3, padding=1)
            self.middle, self.last = nn.Conv2d(96, 24, 3, stride=2, padding=1), nn.Conv2d(24, 24, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            side = self.project(x)
            return torch.relu(self.last(torch.relu(self.middle(torch.relu(self.down(x))))) + side)

    processor = with_sram(400)
    network = network_of(Block(), processor, 64)
    again = Recompute().run(network, processor)
    layers = [[operator.layer for operator in each.operators] for each in (network, again)]
    assert layers[0].index("project") < layers[0].index("down")
    assert sorted(layers[0]) == sorted(layers[1])
    assert layers[1].index("project") > layers[1].index("down")
    assert {each.outputs for each in network.operators} == {each.outputs for each in again.operators}


def test_regnet_gains_by_it() -> None:
    network = network_of(get_model("regnet_y_400mf"), EDGE_NPU, 224)
    programs = [optimise(network, EDGE_NPU, off)[0] for off in (frozenset[str](), OFF)]
    on, off = (simulate_parallel(parallelise(each), EDGE_NPU).cycles for each in programs)
    assert on < 0.97 * off


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
def test_ordinary_networks_have_nothing_to_do_again(name: str) -> None:
    network = network_of(get_model(name), EDGE_NPU, 224)
    assert Recompute().run(network, EDGE_NPU) is network
