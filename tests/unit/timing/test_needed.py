"""What outputs depend on: against gradients, one output and one input at a time; and no program does without it."""

import math

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.timing.bounds import program_bounds
from nas.timing.needed import elements, needed
from nas.timing.traffic import command_macs

EDGE_NPU = find_processor("edge_npu")
SMALL = msgspec.structs.replace(EDGE_NPU, sram=msgspec.structs.replace(EDGE_NPU.sram, size_bytes=1 << 15))


class Corner(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :3, 1:4]


class Shuffled(nn.Module):
    """Half of the channels of a shuffle, gated by what all of them are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shuffled = x.reshape(len(x), 2, x.shape[1] // 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        half = shuffled[:, : x.shape[1] // 2]
        return half * half.mean((2, 3), keepdim=True)


class Both(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([part(x).flatten(1) for part in self.parts], 1)


NETWORKS = {
    "steps": lambda: nn.Conv2d(4, 2, 1, stride=2),
    "edge": lambda: nn.Conv2d(4, 2, 3, stride=2),
    "gaps": lambda: nn.Conv2d(4, 4, 2, stride=3, dilation=2, padding=1, groups=2),
    "behind": lambda: nn.Sequential(nn.Conv2d(4, 4, 2, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1, stride=4)),
    "pool": lambda: nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.MaxPool2d(1, 2), nn.Conv2d(4, 2, 1)),
    "corner": lambda: nn.Sequential(Corner(), nn.Conv2d(4, 2, 1)),
    "channels": lambda: nn.Sequential(nn.Conv2d(4, 8, 1), Shuffled(), nn.Conv2d(4, 2, 1)),
    "branches": lambda: Both(nn.Conv2d(4, 2, 1, stride=3), nn.Sequential(Corner(), nn.AvgPool2d(2))),
    "matrix": lambda: nn.Sequential(Corner(), nn.Flatten(), nn.Linear(36, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_has_a_gradient_is_needed_and_nothing_else(name: str) -> None:
    module = NETWORKS[name]().eval()
    shape = (1, 4, 10, 9)
    network = network_of(module, (shape,))
    masks = needed(network.operators, network.tensors)
    generator = torch.Generator().manual_seed(1)
    found = torch.zeros(shape, dtype=torch.bool)
    for _ in range(8):  # a maximum and a ReLU let different places through
        x = torch.randn(shape, generator=generator, requires_grad=True)
        y = module(x)
        (y * torch.randn(y.shape, generator=generator)).sum().backward()
        found |= x.grad != 0
    (source,) = network.inputs
    np.testing.assert_array_equal(masks[source], found[0].numpy())
    assert elements(source, masks, network.tensors) == int(found.sum()) < math.prod(shape) or name in ("channels",)


@pytest.mark.parametrize("bits", ["float", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_program_moves_or_computes_less(name: str, bits: str) -> None:
    module = nn.Sequential(nn.Conv2d(16, 4, 1), NETWORKS[name]()) if name == "channels" else NETWORKS[name]()
    shape = (2, 16 if name == "channels" else 4, *((10, 9) if name == "matrix" else (40, 40)))
    for processor in (EDGE_NPU, SMALL):
        compiled = compile_network(module.eval(), shape, processor, precision=Precision(bits))
        assert isinstance(compiled, Compiled)
        bounds = program_bounds(compiled.optimised, processor)
        assert sum(map(command_macs, compiled.optimised.commands)) >= bounds.macs
        assert sum(span.dram_bytes for span in simulate(compiled.optimised, processor).spans) >= bounds.compulsory_bytes
        assert simulate_parallel(compiled.parallel, processor).cycles >= bounds.cycles
