"""Convolutions of one map become one where an array is much wider than each, with the same numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.network import Network
from nas.compiler.opt.rewrite.branches import JoinBranches
from nas.compiler.opt.rewrite.fuse import Fuse
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision
from nas.cost.explain import explain
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.command import Conv
from nas.ir.text import program_from_text, program_to_text
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values
from tests.processors import with_sram

SERVER_NPU = find_processor("server_npu")
EDGE_NPU = find_processor("edge_npu")


class Inception(nn.Module):
    """Three branches behind reductions, one that is stored in the concat at once."""

    def __init__(self, reduced: tuple[int, ...] = (48, 16, 96)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.reduce = nn.ModuleList([nn.Conv2d(64, count, 1, bias=count != 16) for count in reduced])
        self.norms = nn.ModuleList([nn.BatchNorm2d(count) if count == 48 else nn.Identity() for count in reduced])
        self.branches = nn.ModuleList([nn.Conv2d(count, 8, 3, padding=1) for count in reduced])
        self.direct = nn.Conv2d(64, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        maps = [
            branch(norm(reduce(x)).relu())
            for reduce, norm, branch in zip(self.reduce, self.norms, self.branches, strict=True)
        ]
        return torch.cat([self.direct(x).relu(), *maps], 1)


def inception(*reduced: int) -> nn.Module:
    torch.manual_seed(0)
    return Inception(*[reduced] if reduced else []).eval()


def counts(network: Network) -> list[int]:
    """The output channels of all convolutions of 64 channels through one place."""
    weights = [network.tensors[each.inputs[1]].shape for each in network.operators if isinstance(each.function, Conv)]
    return [shape[0] for shape in weights if shape[1:] == (64, 1, 1)]


def joined(module: nn.Module, processor: Processor = SERVER_NPU) -> list[int]:
    network = run_passes([Fuse()], network_of(module, ((1, 3, 56, 56),)), processor)
    return sorted(counts(JoinBranches(in_bytes=True).run(network, processor)))


def test_what_fits_side_by_side_becomes_one() -> None:
    """160 of 256 columns; the branch that lies in the concat is left."""
    assert joined(inception()) == [8, 160]


def test_of_many_those_that_gain_most_become_one() -> None:
    assert joined(inception(200, 190, 40, 30)) in ([8, 220, 240], [8, 230, 230])


def test_branches_stay_apart_where_nothing_is_gained() -> None:
    assert joined(inception(256, 256)) == [8, 256, 256]
    assert joined(inception(32, 64), EDGE_NPU) == [8, 32, 64]


def test_branches_stay_apart_where_their_maps_leave_the_chip() -> None:
    assert joined(inception(), with_sram(256, SERVER_NPU)) == [8, 16, 48, 96]


@pytest.mark.parametrize("bits", ["float", "int8"])
def test_a_network_is_quicker_and_gives_the_same(bits: str) -> None:
    module, precision = inception(), Precision(bits)
    one = compile_network(module, (1, 3, 14, 14), SERVER_NPU, precision=precision)
    assert isinstance(one, Compiled)
    inputs = {"input": one.truth["input"]}
    (name,) = (binding.name for binding in one.optimised.outputs)
    values = run_values(one.optimised, one.constants, inputs)[name]
    np.testing.assert_allclose(values, one.truth[name], atol=2e-6 if bits == "float" else 0.02)
    np.testing.assert_allclose(values, run_values(one.naive, one.naive_constants, inputs)[name], atol=2e-6)
    meta = compile_network(inception().to("meta"), (1, 3, 14, 14), SERVER_NPU, precision=precision)
    assert isinstance(meta, Compiled)
    cycles = [simulate_parallel(each.parallel, SERVER_NPU).cycles for each in (one, meta)]
    assert cycles[0] == cycles[1]


def test_the_switch_leaves_branches_apart() -> None:
    on, off = (
        compile_network(inception(), (1, 3, 14, 14), SERVER_NPU, switched_off=frozenset(each))
        for each in ((), ("branches",))
    )
    assert isinstance(on, Compiled)
    assert isinstance(off, Compiled)
    cycles = [simulate_parallel(each.parallel, SERVER_NPU).cycles for each in (on, off)]
    assert cycles[0] < 0.95 * cycles[1]


def test_each_of_joined_layers_can_be_explained() -> None:
    compiled = compile_network(inception(), (1, 3, 28, 28), SERVER_NPU, precision=Precision("int8"))
    assert isinstance(compiled, Compiled)
    seen = [explain(compiled, f"reduce.{index}") for index in range(3)]
    assert seen[0].macs == seen[1].macs == seen[2].macs == 28 * 28 * 64 * 160
    assert program_from_text(program_to_text(compiled.optimised)) == compiled.optimised
