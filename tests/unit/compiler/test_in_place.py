"""Results written over an operand that nobody reads again: less room, the same numbers."""

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.layout.operands import layout_of
from nas.compiler.precision import Precision, network_to_price
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.sequential import simulate
from nas.sim.values import run_values

EDGE_NPU = find_processor("edge_npu")


def with_sram(kib: int) -> Processor:
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=kib * 1024, banks=1)
    return msgspec.structs.replace(EDGE_NPU, sram=sram)


class _Residual(nn.Module):
    """Blocks whose input is added to their output; a gate on the way; one sum whose addend is read again."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, hidden, 1),
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
                nn.Conv2d(hidden, 8, 1),
            )
            for _ in range(3)
        )
        self.gate = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 4, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x) + x
        y = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.last(torch.relu(y + x) + self.blocks[0](y))


@pytest.mark.parametrize("kib", [8, 16, 32, 64])
@pytest.mark.parametrize("hidden", [8, 32])
def test_the_numbers_stay_the_same(kib: int, hidden: int) -> None:
    """Whole on chip, in stripes, in tiles from dram."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = _Residual(hidden).eval()
    compiled = compile_network(network, (2, 3, 24, 20), with_sram(kib))
    assert isinstance(compiled, Compiled), str(compiled)
    for name, values in run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]}).items():
        np.testing.assert_allclose(values, compiled.truth[name], atol=2e-5)


def test_two_maps_suffice_for_a_residual_block() -> None:
    network = nn.Sequential(*(_Sum() for _ in range(3))).eval()
    moved = []
    for off in ((), ("in_place",)):
        compiled = compile_network(
            network, (1, 8, 32, 32), with_sram(21), switched_off=frozenset(off), precision=Precision("int8")
        )
        assert isinstance(compiled, Compiled)
        moved.append(simulate(compiled.optimised, with_sram(21)).dram_bytes)
    assert moved[0] < 0.8 * moved[1]


class _Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.two(torch.relu(self.one(x))) + x)


def test_what_is_read_again_keeps_its_bytes() -> None:
    lowered = network_to_price(_Residual(8).eval(), (1, 3, 8, 8), EDGE_NPU, "float")
    storage = layout_of(lowered).storage
    last_reader = {name: index for index, each in enumerate(lowered.operators) for name in each.inputs}
    for index, operator in enumerate(lowered.operators):
        result = operator.outputs[0]
        if result in storage.in_place:
            below = [name for name in operator.inputs if storage.regions.get(name) == storage.regions[result]]
            assert len(below) == 1
            assert last_reader[below[0]] == index
    assert storage.in_place
