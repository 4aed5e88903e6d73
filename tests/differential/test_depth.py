"""Operators that are cut along their depth, because not even one tile of them fits, compute what PyTorch computes."""

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from models.bits import Bits
from models.blocks.convolution import convolution
from models.ranges import positive_quantizer
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.compiler.precision import Precision
from nas.core.errors import Violation
from nas.cost.model import Cost
from nas.cost.simulated import SimulatedCost
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.command import Conv, Matmul
from nas.sim.values import run_values, run_values_parallel
from tests.networks import draw_statistics

MICRO_NPU = find_processor("micro_npu")


def _with_sram(size_bytes: int) -> Processor:
    sram = msgspec.structs.replace(MICRO_NPU.sram, size_bytes=size_bytes, banks=1)
    return msgspec.structs.replace(MICRO_NPU, sram=sram)


def _deep_product() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(nn.Flatten(), nn.Linear(3000, 20), nn.ReLU(), nn.Linear(20, 7)), (5, 3, 20, 50)


def _deep_convolution() -> tuple[nn.Module, tuple[int, ...]]:
    layers = [
        nn.Conv2d(3, 150, 1),
        nn.ReLU(),
        nn.Conv2d(150, 9, 3, padding=1, bias=False),
        nn.BatchNorm2d(9),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1), nn.Conv2d(9, 4, 1)), (2, 3, 11, 29)


class _DeepSum(nn.Module):
    """A residual whose branch is too deep: the sum and the activation follow the last part."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.deep, self.last = nn.Conv2d(3, 120, 1), nn.Conv2d(120, 120, 3, padding=1), nn.Conv2d(120, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.widen(x)
        return self.last(torch.relu(self.deep(x) + x))


def _deep_sum() -> tuple[nn.Module, tuple[int, ...]]:
    return _DeepSum(), (1, 3, 9, 40)


def _few_bits() -> tuple[nn.Module, tuple[int, ...]]:
    """2-bit weights on 2-bit activations, four to a byte; the parts of rows have to begin on whole bytes."""
    bits = Bits(weight=2, activation=2)
    layers = [nn.Conv2d(3, 250, 1), positive_quantizer(2), convolution(250, 6, 3, bits=bits), nn.BatchNorm2d(6)]
    return nn.Sequential(*layers, positive_quantizer(2)), (2, 3, 10, 31)


_NETWORKS = {each.__name__[1:]: each for each in (_deep_product, _deep_convolution, _deep_sum, _few_bits)}


def _built(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, shape = _NETWORKS[name]()
    draw_statistics(module, torch.Generator().manual_seed(0))
    return module.eval(), shape


def _results(compiled: Compiled) -> tuple[np.ndarray, np.ndarray]:
    """(what the programs give, what torch gives); the parallel program gives what the optimised one gives."""
    truth = dict(compiled.truth)
    inputs = {"input": truth.pop("input")}
    (name,) = truth
    naive = run_values(compiled.naive, compiled.naive_constants, inputs, run_on_host)[name]
    optimised = run_values(compiled.optimised, compiled.constants, inputs, run_on_host)[name]
    order = np.random.default_rng(0)
    parallel = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, order, run_on_host)[name]
    np.testing.assert_array_equal(parallel, optimised)
    np.testing.assert_allclose(optimised, naive, rtol=0, atol=1e-4 * np.abs(naive).max())
    return optimised, truth[name]


def _parts(compiled: Compiled) -> int:
    """The operators that add sums to those before."""
    functions = [each.function for each in compiled.naive.operators]
    return sum(isinstance(each, Conv | Matmul) and each.tail.add == each.tail.output for each in functions)


def _room_for(name: str, bits: str) -> tuple[Processor, Processor]:
    """An SRAM in which the network fits only in parts, and one in which it fits as it is."""
    size_bytes = {"deep_product": 11_000, "deep_convolution": 11_000, "deep_sum": 11_000, "few_bits": 5_000}[name]
    return _with_sram(size_bytes * (4 if bits == "float" and name != "few_bits" else 1)), _with_sram(1 << 20)


@pytest.mark.parametrize("bits", ["float", "int8"])
@pytest.mark.parametrize("name", list(_NETWORKS))
def test_parts_compute_what_the_whole_computes(name: str, bits: str) -> None:
    module, shape = _built(name)
    small, large = _room_for(name, bits)
    precision = Precision(bits)  # type: ignore[arg-type]
    cut, whole = (compile_network(module, shape, each, precision=precision) for each in (small, large))
    assert isinstance(cut, Compiled), str(cut)
    assert isinstance(whole, Compiled)
    assert _parts(cut) > 0
    assert _parts(whole) == 0
    assert cut.optimised.used_bytes["sram"] <= small.sram.size_bytes
    (result, truth), (expected, _) = _results(cut), _results(whole)
    largest = np.abs(expected).max()
    if bits == "int8" or name == "few_bits":
        np.testing.assert_array_equal(result, expected)  # integers, summed exactly
    else:
        np.testing.assert_allclose(result, truth, rtol=0, atol=1e-4 * largest)


def test_a_classifier_on_the_smallest_processor() -> None:
    """The first product of a VGG reads 25,088 numbers of each image: three images are more than the SRAM holds."""
    with torch.device("meta"):
        module = nn.Sequential(nn.Flatten(), nn.Linear(25_088, 64), nn.ReLU(), nn.Linear(64, 10))
    cost = SimulatedCost(MICRO_NPU, precision=Precision("int8")).cost(module, (3, 512, 7, 7))
    assert isinstance(cost, Cost), str(cost)
    assert cost.peak_sram_bytes <= MICRO_NPU.sram.size_bytes
    assert cost.macs == 3 * (25_088 * 64 + 64 * 10)


def test_an_operator_that_fits_until_it_has_taken_in_its_pool_is_cut_then() -> None:
    module, shape = _built("deep_convolution")
    compiled = compile_network(module, shape, _with_sram(59_200))
    assert isinstance(compiled, Compiled), str(compiled)
    assert _parts(compiled) == 0
    assert any("sums" in tensor.name for tensor in compiled.optimised.tensors)
    result, truth = _results(compiled)
    np.testing.assert_allclose(result, truth, rtol=0, atol=1e-4 * np.abs(truth).max())


def test_a_group_that_is_too_deep_is_a_convolution_of_its_own_and_then_cut() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(800, 2, 3, groups=2, bias=False).eval()
    compiled = compile_network(module, (1, 800, 8, 60), _with_sram(11_000))
    assert isinstance(compiled, Compiled), str(compiled)
    assert _parts(compiled) > 2
    result, truth = _results(compiled)
    np.testing.assert_allclose(result, truth, rtol=0, atol=1e-4 * np.abs(truth).max())


def test_what_is_cut_along_nothing_still_says_what_it_needs() -> None:
    """Rows are never cut: one of a map is more than the chip holds."""
    answer = compile_network(nn.Conv2d(1, 2, 3, bias=False), (1, 1, 4, 4000), _with_sram(11_000))
    assert isinstance(answer, Violation)
    assert answer.need > answer.have == 11_000


@pytest.mark.parametrize(
    ("channels", "outputs", "side", "kernel", "kib", "bits"),
    [(512, 64, 1, 1, 6, "int8"), (96, 32, 8, 3, 12, "int8"), (120, 30, 3, 1, 12, "float")],
)
def test_each_core_may_cut_its_own_part(
    channels: int, outputs: int, side: int, kernel: int, kib: int, bits: str
) -> None:
    """The operators of a program of several cores are those of the network, whatever each of them makes of its part."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, channels, 1), nn.ReLU(), nn.Conv2d(channels, outputs, kernel), nn.ReLU()]
    module = nn.Sequential(*layers, nn.MaxPool2d(2) if side > kernel else nn.Identity()).eval()
    processor = msgspec.structs.replace(_with_sram(kib << 10), cores=2)
    compiled = compile_network(module, (2, 4, side, side), processor, precision=Precision(bits))
    assert isinstance(compiled, Compiled), str(compiled)
    assert compiled.spread.is_partitioned
    (output,) = compiled.naive.outputs
    inputs = {"input": compiled.truth["input"]}
    naive = run_values(compiled.naive, compiled.naive_constants, inputs)[output.name]
    generator = np.random.default_rng(0)
    parallel = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, generator)[output.name]
    np.testing.assert_allclose(parallel, naive, rtol=0, atol=0 if bits == "int8" else 1e-5)
