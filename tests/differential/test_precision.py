"""Networks of floats on 8-bit integers and on bfloat16: near PyTorch's floats, and the same in all three programs."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.convnext import CNBlock
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

import models
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.calibrate import observed_ranges
from nas.compiler.front_end.lower import network_of
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.compiler.inputs import InputShape
from nas.compiler.precision import Precision, precision_named
from nas.compiler.recode import activation_format, float_tensors, quantised
from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.cost.simulated import SimulatedCost
from nas.hw.load import find_processor
from nas.ir.command import Conv, Host, Matmul
from nas.sim.formats import encode, numbers
from nas.sim.values import run_values, run_values_parallel
from tests.differential.test_torchvision_networks import network
from tests.networks import RandomNetwork, random_arch

EDGE_NPU = find_processor("edge_npu")
INT8, BFLOAT16 = Precision("int8"), Precision("bfloat16")


def results(module: nn.Module, shape: InputShape, precision: Precision) -> tuple[np.ndarray, np.ndarray, Compiled]:
    """(what the programs give, what torch gives), once all programs have given the same."""
    compiled = compile_network(module, shape, EDGE_NPU, seed=5, precision=precision)
    assert isinstance(compiled, Compiled), str(compiled)
    truth = dict(compiled.truth)
    inputs = {binding.name: truth.pop(binding.name) for binding in compiled.naive.inputs}
    naive = run_values(compiled.naive, compiled.naive_constants, inputs, run_on_host)
    optimised = run_values(compiled.optimised, compiled.constants, inputs, run_on_host)
    order = np.random.default_rng(0)
    parallel = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, order, run_on_host)
    (name,) = truth
    np.testing.assert_array_equal(optimised[name], naive[name])
    np.testing.assert_array_equal(parallel[name], naive[name])
    return naive[name], truth[name], compiled


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of what is left without the means, so that a common offset doesn't count as agreement."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("squeezenet1_1", 0.995),
        ("mobilenet_v3_small", 0.995),
        ("shufflenet_v2_x1_0", 0.995),
        pytest.param("resnet18", 0.995, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", 0.995, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", 0.99, marks=pytest.mark.slow),
        pytest.param("densenet121", 0.99, marks=pytest.mark.slow),
        pytest.param("regnet_y_400mf", 0.99, marks=pytest.mark.slow),
    ],
)
def test_int8_is_near_the_float_network(name: str, least: float) -> None:
    got, expected, compiled = results(network(name), (1, 3, 64, 64), INT8)
    assert cosine(got, expected) > least
    # Of classes that are nearly equal either may come first.
    assert expected.max() - expected.flat[got.argmax()] < 0.02 * np.ptp(expected)
    # Every product of weights is of integers, from the image on.
    products = [o.function for o in compiled.optimised.operators if isinstance(o.function, Conv | Matmul)]
    assert products
    assert all(each.input.bits == each.weight.bits == 8 and each.input.is_code for each in products)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("precision", [INT8, BFLOAT16], ids=["int8", "bfloat16"])
def test_random_networks(seed: int, precision: Precision) -> None:
    """Branches, joins, shuffles, slices, pools and host operators."""
    generator = np.random.default_rng(200 + seed)
    module = RandomNetwork(generator, 3, depth=4)
    got, expected, _ = results(module, (2, 3, 17, 14), precision)
    assert cosine(got, expected) > (0.98 if precision is INT8 else 0.999)


def test_a_block_of_convnext_needs_no_host() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 24, 4, 4), CNBlock(24, 0.5, 0.0), CNBlock(24, 0.5, 0.0), nn.Flatten())
    got, expected, compiled = results(module, (2, 3, 40, 28), INT8)
    assert not any(isinstance(operator.function, Host) for operator in compiled.optimised.operators)
    assert cosine(got, expected) > 0.995


def transformer() -> nn.Module:
    torch.manual_seed(3)
    network = VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48)
    nn.init.normal_(network.class_token)
    nn.init.normal_(network.heads.head.weight)
    return network.eval()


@pytest.mark.parametrize(("precision", "least"), [(INT8, 0.995), (BFLOAT16, 0.9999)], ids=["int8", "bfloat16"])
def test_a_vision_transformer_runs_on_the_engines(precision: Precision, least: float) -> None:
    got, expected, compiled = results(transformer(), (2, 3, 32, 32), precision)
    assert not any(isinstance(operator.function, Host) for operator in compiled.optimised.operators)
    assert cosine(got, expected) > least
    heads = [o.function for o in compiled.optimised.operators if isinstance(o.function, Conv) and o.function.groups > 1]
    assert len(heads) == 2 * 2
    assert all(each.input.bits == each.weight.bits == (8 if precision is INT8 else 16) for each in heads)


@pytest.mark.parametrize(("precision", "least"), [(INT8, 0.98), (BFLOAT16, 0.9999)], ids=["int8", "bfloat16"])
def test_a_transformer_of_windows_runs_on_the_engines(precision: Precision, least: float) -> None:
    """Two windows a side, every second block shifted by half a window, and merged patches."""
    torch.manual_seed(3)
    module = SwinTransformer([4, 4], 24, [2, 2], [3, 3], [4, 4], num_classes=10, stochastic_depth_prob=0.0).eval()
    got, expected, compiled = results(module, (2, 3, 32, 32), precision)
    assert not any(isinstance(operator.function, Host) for operator in compiled.optimised.operators)
    assert cosine(got, expected) > least


def test_a_range_that_is_infinite_has_no_codes() -> None:
    ranges = observed_ranges(nn.Softmax(-1), [torch.tensor([[1.0, -torch.inf]])])
    assert "input" not in ranges
    assert set(ranges.values()) == {(0.0, 1.0)}


def test_a_network_that_is_quantised_already_stays_as_it_is() -> None:
    arch = random_arch(np.random.default_rng(7), quantised=True)
    got, _, compiled = results(models.build(arch, 7), (2, 3, 16, 16), INT8)
    own, _, as_it_was = results(models.build(arch, 7), (2, 3, 16, 16), Precision())
    np.testing.assert_allclose(got, own, atol=2e-2 * float(np.abs(own).max()))
    kept = {binding.name for binding in as_it_was.naive.constants if binding.format.is_code}
    assert kept <= {binding.name for binding in compiled.naive.constants}


@pytest.mark.parametrize("observed", [(-3.0, 1.0), (0.0, 6.0), (0.5, 2.0), (-2.0, -1.0), (0.0, 0.0), (-1e-3, 5e4)])
def test_zero_is_a_code_and_the_range_is_covered(observed: tuple[float, float]) -> None:
    form = activation_format(observed)
    samples = np.linspace(min(observed[0], 0.0), max(observed[1], 0.0), 999).astype(np.float32)
    assert numbers(encode(np.zeros(1, np.float32), form), form)[0] == 0.0
    error = np.abs(numbers(encode(samples, form), form) - samples)
    assert error.max() <= form.scale * 1.0001  # half a step inside, up to one where zero has moved the ends


def test_ranges_are_of_all_batches_and_found_by_name() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    module.train()
    batches = [torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed)) - 0.5 * seed for seed in range(2)]
    ranges = observed_ranges(module, batches)
    assert module.training
    module.eval()
    inputs = torch.cat(batches)
    for depth, name in enumerate(["input", "0", "1", "2", "3"]):
        expected = module[:depth](inputs).detach()
        assert ranges[name] == pytest.approx((float(expected.min()), float(expected.max())))
    clipped = observed_ranges(module, batches, percentile=90.0)
    assert ranges["0"][0] < clipped["0"][0] < clipped["0"][1] < ranges["0"][1]


def test_what_stays_float_is_listed() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardshrink(), nn.Conv2d(4, 4, 1), nn.Flatten())
    lowered = network_of(module, ((1, 3, 8, 8),))
    ranges = observed_ranges(module, [torch.rand(1, 3, 8, 8)])
    (output,) = lowered.outputs
    left = float_tensors(quantised(lowered, ranges))
    assert sorted(left) == sorted(["input", "0.float", "1", output])  # the host's two ends, and the network's
    unknown = {name: ranges[name] for name in ranges if name != "0"}
    assert "0" in float_tensors(quantised(lowered, unknown))


def test_fewer_bits_are_never_slower() -> None:
    module = network("mobilenet_v2")
    costs = [SimulatedCost(EDGE_NPU, precision=each).cost(module, (1, 3, 64, 64)) for each in (INT8, BFLOAT16)]
    costs.append(SimulatedCost(EDGE_NPU).cost(module, (1, 3, 64, 64)))
    known = [cost for cost in costs if isinstance(cost, Cost)]
    assert len(known) == 3
    for field in ("cycles", "dram_bytes", "parameter_bytes", "energy_pj"):
        amounts = [getattr(cost, field) for cost in known]
        assert amounts == sorted(set(amounts)), (field, amounts)


def test_a_network_without_numbers_has_the_same_cost() -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(1, 2),
            nn.LayerNorm(6),
            nn.Flatten(),
            nn.Linear(288, 5),
        )

    with torch.device("meta"):
        module = build()
    for precision in (INT8, BFLOAT16):
        model = SimulatedCost(EDGE_NPU, precision=precision)
        assert model.cost(module, (1, 3, 8, 8)) == model.cost(build(), (1, 3, 8, 8))


def test_names() -> None:
    assert precision_named("none", "quantise").bits == "float"
    with pytest.raises(InputError, match="did you mean 'int8'"):
        precision_named("int4", "quantise")
