"""Every block kind, and every network of the registry, compiled: the programs' values are PyTorch's."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import models
from models.arch import Quantization
from models.stage import Stage
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.core.config import load_yaml
from nas.hw.load import find_processor
from nas.ir.command import Host
from nas.search.trials.space import Space
from nas.sim.values import run_values, run_values_parallel
from tests.networks import draw_statistics

SPACE = Path(__file__).parents[2] / "conf" / "space" / "every_block.yaml"
KINDS: dict[str, dict[str, object]] = {
    "conv": {"block": "conv"},
    "conv_skip_factorised": {"block": "conv", "skip": True, "factorised": True, "kernel": 5},
    "mobile_v1": {"block": "mobile_v1"},
    "mobile_v1_skip": {"block": "mobile_v1", "skip": True},
    "mobile_v2": {"block": "mobile_v2", "expansion": 2},
    "mobile_v2_no_skip": {"block": "mobile_v2", "expansion": 2, "skip": False},
    "mobile_v3": {"block": "mobile_v3", "expansion": 2},
    "mobile_v3_relu": {"block": "mobile_v3", "expansion": 2, "squeeze_excite": False, "hard_swish": False},
    "shuffle_v1": {"block": "shuffle_v1", "groups": 2},
    "shuffle_v1_narrows": {"block": "shuffle_v1", "groups": 3, "width": 12},
    "shuffle_v2": {"block": "shuffle_v2"},
    "residual": {"block": "residual"},
    "residual_factorised": {"block": "residual", "factorised": True},
    "residual_no_skip": {"block": "residual", "skip": False},
    "bottleneck": {"block": "bottleneck", "expansion": 2},
}
BITS = {"float": (32, 32), "w8a8": (8, 8), "w2a4": (2, 4), "w1a2": (1, 2)}
# Small examples of the other networks; nothing of theirs runs on the host.
NETWORKS: dict[str, dict[str, object]] = {
    "dorefa_svhn": {"variant": "D", "image_size_px": 20},
    "mobilenet_v1": {"width": 0.2},
    "mobilenet_v2": {"width": 0.2},
    "mobilenet_v3": {"width": 0.25},
    "shufflenet_v1": {"width": 0.25, "groups": 2},
    "shufflenet_v2": {"width": 0.2},
    "resnet": {"width": 0.1},
    "googlenet": {"width": 0.1},
    "alexnet": {"width": 0.1},  # 3 x 3 places become 6 x 6
    "fcn": {"width": 0.1},
}


def _check(description: dict[str, object], tolerance: float) -> tuple[Compiled, set[str]]:
    module = models.build(description, seed=1)
    draw_statistics(module, torch.Generator().manual_seed(1))
    size_px = module.arch.image_size_px
    compiled = compile_network(module, (1, 3, size_px, size_px), find_processor("edge_npu"))
    assert isinstance(compiled, Compiled), str(compiled)
    truth = dict(compiled.truth)
    inputs = {"input": truth.pop("input")}
    ((name, expected),) = truth.items()
    naive = run_values(compiled.naive, compiled.naive_constants, inputs, run_on_host)[name]
    optimised = run_values(compiled.optimised, compiled.constants, inputs, run_on_host)[name]
    order = np.random.default_rng(0)
    parallel = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, order, run_on_host)[name]
    np.testing.assert_array_equal(parallel, optimised)
    limit = tolerance * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(naive, expected, rtol=0, atol=limit)
    np.testing.assert_allclose(optimised, expected, rtol=0, atol=limit)
    functions = [operator.function for operator in compiled.optimised.operators]
    return compiled, {each.function.rsplit(".", 1)[-1] for each in functions if isinstance(each, Host)}


def test_every_block_kind_is_here() -> None:
    kinds = {str(fields["block"]) for fields in KINDS.values()}
    assert kinds == set(msgspec.inspect.type_info(Stage).fields[0].type.values)


@pytest.mark.parametrize(
    "bits", [*("float", "w2a4"), *(pytest.param(bits, marks=pytest.mark.slow) for bits in ("w8a8", "w1a2"))]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_block_kind(kind: str, bits: str) -> None:
    weight_bits, activation_bits = BITS[bits]
    fields = {"depth": 2, "width": 16, "weight_bits": weight_bits, "activation_bits": activation_bits} | KINDS[kind]
    edge = 32 if bits == "float" else 8
    description = {
        "model": "searchable",
        "image_size_px": 9,
        "stem_width": 12 if bits == "w2a4" else 16,
        "stages": [{**fields, "stride": 1}, fields],
        "classifier": {"float": "mean", "w8a8": "convolutional", "w2a4": "flat", "w1a2": "mean"}[bits],
        "edge_weight_bits": edge,
        "edge_activation_bits": edge,
    }
    # A code on a rounding boundary may fall to the other side in float32: one step of one code, seen at the output.
    _, hosts = _check(description, 1e-4 if bits == "float" else 2e-2)
    assert hosts == set()


@pytest.mark.parametrize("second", ["conv", "mobile_v1", "mobile_v2", "residual", "bottleneck", "shuffle_v1"])
@pytest.mark.parametrize("first", ["conv", "mobile_v3"])
def test_sums_across_stages_agree_code_by_code(first: str, second: str) -> None:
    """The input of a stage's first sum comes from a block of another kind, in another format."""
    skip = None if second == "shuffle_v1" else True
    stage = {"depth": 1, "width": 16, "stride": 1, "expansion": 2, "weight_bits": 2, "activation_bits": 4}
    stages = [{**stage, "block": first}, {**stage, "block": second, "skip": skip}]
    edges = {"edge_weight_bits": 8, "edge_activation_bits": 8}
    network = models.build({"model": "searchable", "image_size_px": 9, "stages": stages, **edges}, seed=1)
    draw_statistics(network, torch.Generator().manual_seed(1))
    features = torch.nn.Sequential(network.stem, network.stages)
    compiled = compile_network(features, (1, 3, 9, 9), find_processor("edge_npu"))
    assert isinstance(compiled, Compiled), str(compiled)
    ((name, got),) = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]}).items()
    off = np.abs(got - compiled.truth[name]) > 1e-5
    assert off.mean() <= 0.005, "but for the few codes that lie on a rounding boundary"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network(name: str) -> None:
    fields = NETWORKS[name]
    _, hosts = _check({"model": name, "image_size_px": 16, **fields}, 1e-3)
    assert hosts == set()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "dorefa_svhn"])
def test_a_quantised_network(name: str) -> None:
    fields = NETWORKS[name]
    plan = msgspec.to_builtins(Quantization(weight_bits=2, activation_bits=4, gradient_bits=4))
    compiled, hosts = _check({"model": name, "image_size_px": 16, **fields, "quantization": plan}, 2e-2)
    assert hosts == set()
    codes = [binding.format.bits for binding in compiled.naive.constants if binding.format.is_code]
    assert codes.count(2) > 2, "weights of two bits are stored as such"


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))])
def test_random_candidates_of_the_space_of_every_block(seed: int) -> None:
    space = Space(load_yaml(SPACE), SPACE)
    candidate = space.assemble(space.random(np.random.default_rng(seed)))
    # Codes on a rounding boundary may fall to the other side, and several kinds in a row carry that on.
    _check({"in_channels": 3, "classes": 10, "image_size_px": 16, **candidate.network}, 5e-2)
