"""Chains that go channel by channel are done in slices of channels: less traffic, no halo, the same numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.ir.command import Load, Store
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values, run_values_parallel
from tests.processors import with_sram

MICRO_NPU = find_processor("micro_npu")
OFF = frozenset(["slices"])


class _Gated(nn.Module):
    """What is widened goes through a depthwise convolution, is gated by its mean, and narrowed again."""

    def __init__(self, widen: nn.Module, inner: nn.Module, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.widen, self.inner = nn.Conv2d(3, 16, 3, 2, 1), widen, inner
        self.less, self.more = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)
        self.narrow = nn.Conv2d(channels, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.stem(x))
        z = torch.relu(self.inner(torch.relu(self.widen(y))))
        gate = torch.sigmoid(self.more(torch.relu(self.less(z.mean((2, 3), keepdim=True)))))
        return self.narrow(z * gate)


def _gated(channels: int = 96, size: int = 3, stride: int = 1) -> _Gated:
    inner = nn.Conv2d(channels, channels, size, stride, size // 2, groups=channels)
    return _Gated(nn.Conv2d(16, channels, 1), inner, channels)


def _compiled(
    module: nn.Module, kib: int, off: frozenset[str] = frozenset(), batch: int = 1, bits: str = "int8"
) -> Compiled:
    processor = with_sram(kib, MICRO_NPU)
    torch.manual_seed(0)
    shape = (batch, 3, 28, 26)
    compiled = compile_network(module.eval(), shape, processor, switched_off=off, precision=Precision(bits))
    assert isinstance(compiled, Compiled), str(compiled)
    return compiled


def _check_values(compiled: Compiled, exactly: bool = True) -> None:
    inputs, (binding,) = {"input": compiled.truth["input"]}, compiled.naive.outputs
    naive = run_values(compiled.naive, compiled.naive_constants, inputs)[binding.name]
    optimised = run_values(compiled.optimised, compiled.constants, inputs)[binding.name]
    generator = np.random.default_rng(0)
    parallel = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, generator)[binding.name]
    tolerance = 0.0 if exactly else 1e-5
    np.testing.assert_allclose(optimised, naive, rtol=0, atol=tolerance)
    np.testing.assert_allclose(parallel, naive, rtol=0, atol=tolerance)
    if not exactly:
        np.testing.assert_allclose(optimised, compiled.truth[binding.name], rtol=0, atol=1e-4)


def _moved_bytes(compiled: Compiled, layer: str, kind: type[Load | Store]) -> int:
    return sum(
        each.reads[0].payload_bytes
        for each in compiled.optimised.commands
        if type(each.attributes) is kind and each.layer == layer
    )


def test_what_is_widened_never_leaves_the_chip_and_is_pooled_on_its_way() -> None:
    on, off = (_compiled(_gated(), 16, without) for without in (frozenset[str](), OFF))
    wide_bytes = 96 * 14 * 13
    assert _moved_bytes(on, "widen", Store) == 0
    assert _moved_bytes(on, "inner", Store) == wide_bytes  # for the product with the gate
    assert _moved_bytes(off, "mean", Load) == wide_bytes
    assert _moved_bytes(on, "mean", Load) == 0
    cycles = [simulate_parallel(each.parallel, each.processor).cycles for each in (on, off)]
    assert cycles[0] < 0.9 * cycles[1]
    _check_values(on)


@pytest.mark.parametrize(("kib", "batch", "bits"), [(8, 1, "int8"), (12, 3, "int8"), (24, 2, "float")])
@pytest.mark.parametrize(
    "module",
    [
        _gated(72, 5, 2),
        _Gated(nn.Conv2d(16, 48, 3, padding=1, groups=2), nn.MaxPool2d(3, 1, 1), 48),
        _Gated(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.AvgPool2d(2), 16),
        _Gated(nn.Conv2d(16, 44, 1), nn.Conv2d(44, 88, 3, padding=1, groups=44), 88),
    ],
    ids=["stride", "groups", "depthwise first", "two outputs a channel"],
)
def test_numbers_are_the_same(module: nn.Module, kib: int, batch: int, bits: str) -> None:
    _check_values(_compiled(module, kib, batch=batch, bits=bits), bits == "int8")


def test_a_slice_has_its_own_weights_and_all_images() -> None:
    """Of a batch each weight is loaded once, though all of them do not fit."""
    compiled = _compiled(_gated(192), 20, batch=2)
    weights_bytes = 192 * 16 + 192 * 2 * 4
    assert _moved_bytes(compiled, "widen", Load) <= weights_bytes + 2 * 16 * 14 * 13 + 1024
    _check_values(compiled)
