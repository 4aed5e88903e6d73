"""Maps that the next operator and later ones read pass in stripes and go to dram as well: less traffic, the same numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.precision import Precision
from nas.ir.command import Load, Store
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values, run_values_parallel
from tests.processors import with_sram

OFF = frozenset(["store_through"])
SHAPE = (1, 3, 48, 40)


class _Decoder(nn.Module):
    """A map as large as the image is halved, and joined to what comes of that; stride: of what reads it first."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.wide = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.first, self.inner = first, nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = F.relu(self.wide(F.relu(self.stem(x))))
        inner = F.relu(self.inner(self.first(wide)))
        return self.last(torch.cat([wide, F.interpolate(inner, wide.shape[2:])], 1))


class _Residuals(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1)) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.stem(x))
        for block in self.blocks:
            y = F.relu(block(y) + y)
        return y.mean((2, 3))


def compiled_for(module: nn.Module, kib: int, off: frozenset[str] = frozenset(), batch: int = 1) -> Compiled:
    shape = (batch, *SHAPE[1:])
    compiled = compile_network(module.eval(), shape, with_sram(kib), switched_off=off, precision=Precision("int8"))
    assert isinstance(compiled, Compiled), str(compiled)
    return compiled


def check_values(compiled: Compiled) -> None:
    inputs, (binding,) = {"input": compiled.truth["input"]}, compiled.naive.outputs
    naive = run_values(compiled.naive, compiled.naive_constants, inputs)[binding.name]
    optimised = run_values(compiled.optimised, compiled.constants, inputs)[binding.name]
    parallel = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, np.random.default_rng(0))[
        binding.name
    ]
    np.testing.assert_array_equal(optimised, naive)
    np.testing.assert_array_equal(parallel, naive)


def moved_bytes(compiled: Compiled, kind: type[Load | Store]) -> int:
    return sum(each.reads[0].payload_bytes for each in compiled.optimised.commands if type(each.attributes) is kind)


def test_what_is_halved_and_joined_later_is_not_read_twice() -> None:
    module = _Decoder(nn.MaxPool2d(2))
    on, off = compiled_for(module, 48), compiled_for(module, 48, OFF)
    assert moved_bytes(off, Load) - moved_bytes(on, Load) > 0.8 * 16 * 48 * 40
    assert moved_bytes(on, Store) <= moved_bytes(off, Store)
    cycles = [simulate_parallel(each.parallel, with_sram(48)).cycles for each in (on, off)]
    assert cycles[0] < 0.9 * cycles[1]
    check_values(on)


@pytest.mark.parametrize("kib", [40, 44, 56])
def test_another_order_that_was_quicker_does_not_keep_it_from_being_tried(kib: int) -> None:
    module = _Decoder(nn.MaxPool2d(2))
    on, off = compiled_for(module, kib), compiled_for(module, kib, OFF)
    assert moved_bytes(on, Load) < moved_bytes(off, Load)


@pytest.mark.parametrize("kib", [12, 16, 24, 40])
@pytest.mark.parametrize(
    "first",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(3, 3),
        nn.Conv2d(16, 16, 1, stride=2),
        nn.Conv2d(16, 16, 2, stride=3),
        nn.Conv2d(16, 16, 3, dilation=2),
        nn.MaxPool2d(5, 4),
        nn.ReLU6(),
    ],
    ids=["whole", "halo", "thirds", "every second row", "two of three rows", "dilated", "not the last rows", "itself"],
)
def test_every_row_is_stored_whoever_reads_first(first: nn.Module, kib: int) -> None:
    """The checkers tell where something is read that was never written."""
    check_values(compiled_for(_Decoder(first), kib))


@pytest.mark.parametrize(("kib", "batch"), [(12, 1), (16, 2), (24, 3)])
def test_sums_across_a_chain(kib: int, batch: int) -> None:
    """What a block begins with is stored while the block goes on with it, and added at its end."""
    module = _Residuals()
    on, off = compiled_for(module, kib, batch=batch), compiled_for(module, kib, OFF, batch)
    check_values(on)
    cycles = [simulate_parallel(each.parallel, with_sram(kib)).cycles for each in (on, off)]
    assert cycles[0] <= cycles[1]
