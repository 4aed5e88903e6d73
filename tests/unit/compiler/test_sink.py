"""Element-wise operators behind views and concats end up in the tails of what made them, with the tables that belong there."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.compiler.front_end.lower import network_of
from nas.compiler.network import Network
from nas.compiler.opt.rewrite.fuse import Fuse
from nas.compiler.opt.rewrite.sink import SinkViews
from nas.compiler.passes import run_passes
from nas.hw.load import find_processor
from nas.ir.command import Eltwise
from tests.differential.test_compiler_against_torch import check_values, compiled_of

EDGE_NPU = find_processor("edge_npu")
SHAPE = (2, 3, 6, 8)
Function = Callable[..., torch.Tensor]


class _Layers(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.conv, self.other, self.function = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(3, 12, 1), function
        self.up, self.overlapping = nn.ConvTranspose2d(3, 12, 2, 2), nn.ConvTranspose2d(3, 12, 3, 2, 1, 1, bias=False)
        self.norms = nn.ModuleDict({str(size): nn.BatchNorm2d(size) for size in (3, 12, 24)})
        for norm in self.norms.values():
            assert isinstance(norm, nn.BatchNorm2d)
            norm.running_mean = torch.randn(norm.num_features, generator=generator)
            norm.running_var = torch.rand(norm.num_features, generator=generator) + 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norms[str(x.shape[1])](x))


# name: (function of (module, map (2,3,6,8)), element-wise operators that are left)
FUNCTIONS: dict[str, tuple[Function, int]] = {
    "a step as wide as the kernel": (lambda m, x: m.norm(m.up(x)), 0),
    "a step narrower than the kernel": (lambda m, x: m.norm(m.overlapping(x)), 0),
    "a pixel shuffle": (lambda m, x: m.norm(F.pixel_shuffle(m.conv(x), 2)), 0),
    "a channel shuffle": (lambda m, x: m.norm(F.channel_shuffle(m.conv(x), 3)), 0),
    "two channel shuffles": (lambda m, x: m.norm(F.channel_shuffle(F.channel_shuffle(m.conv(x), 3), 2)), 0),
    "a concat": (lambda m, x: m.norm(torch.cat([m.conv(x), m.other(x)], 1)), 0),
    "a concat that is shuffled": (lambda m, x: m.norm(F.channel_shuffle(torch.cat([m.conv(x), m.other(x)], 1), 2)), 0),
    "a concat of concats": (
        lambda m, x: F.relu6(torch.cat([torch.cat([m.conv(x), m.other(x)], 1), m.conv(x.relu())], 1)),
        1,  # the input's own
    ),
    "a part that others read": (lambda m, x: m.norm(torch.cat([y := m.conv(x), m.other(x)], 1)) + y[:, :1], 2),
    "channels along the rows": (lambda m, x: m.norm(m.conv(x).transpose(1, 3)[:, :3]), 1),
}


def element_wise(network: Network) -> int:
    return sum(isinstance(operator.function, Eltwise) for operator in network.operators)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_follows_is_done_before(name: str) -> None:
    function, left = FUNCTIONS[name]
    module = _Layers(function).eval()
    network = network_of(module, (SHAPE,))
    assert element_wise(run_passes((SinkViews(), Fuse()), network, EDGE_NPU)) == left
    assert left or element_wise(run_passes((Fuse(),), network, EDGE_NPU))
    check_values(compiled_of(module, SHAPE), 2e-6, orders=1)


def test_parts_of_unknown_numbers_are_taken_of_tables_that_have_none() -> None:
    network = network_of(_Layers(FUNCTIONS["a concat"][0]).eval().to("meta"), (SHAPE,))
    sunk = run_passes((SinkViews(), Fuse()), network, EDGE_NPU)
    assert element_wise(sunk) == 0
    assert not sunk.constants


def test_tables_are_as_long_as_there_are_channels() -> None:
    network = network_of(_Layers(FUNCTIONS["a pixel shuffle"][0]).eval(), (SHAPE,))
    sunk = run_passes((SinkViews(),), network, EDGE_NPU)
    tables = [sunk.tensors[name] for each in sunk.operators for name in each.inputs if name.endswith(".table")]
    assert {each.shape for each in tables} <= {(2, 12), (2, 3)}
    stored = {name: sunk.constants[name].view(np.float32).reshape(2, -1) for name in sunk.constants if "table" in name}
    (wide,) = (table for table in stored.values() if table.shape == (2, 12))
    assert np.array_equal(wide, np.repeat(wide[:, ::4], 4, axis=1))
