"""torchvision's networks at small odd sizes: compiled, checked, and equal to PyTorch in all three forms."""

import msgspec
import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.hw.load import find_processor
from nas.ir.command import Host
from nas.sim.values import run_values, run_values_parallel
from tests.networks import draw_statistics

# name: input shape
QUICK: dict[str, tuple[int, ...]] = {
    "squeezenet1_1": (2, 3, 33, 47),
    "mobilenet_v2": (1, 3, 33, 35),
    "mobilenet_v3_small": (2, 3, 41, 33),
    "shufflenet_v2_x1_0": (1, 3, 33, 47),
    "mnasnet1_0": (1, 3, 37, 33),
}
SLOW: dict[str, tuple[int, ...]] = {
    "alexnet": (2, 3, 67, 71),
    "vgg11_bn": (1, 3, 45, 33),
    "googlenet": (1, 3, 33, 47),
    "inception_v3": (1, 3, 79, 83),
    "resnet18": (3, 3, 33, 47),
    "resnet50": (1, 3, 33, 47),
    "resnext50_32x4d": (1, 3, 33, 47),
    "densenet121": (2, 3, 37, 45),
    "mobilenet_v3_large": (2, 3, 33, 47),
    "efficientnet_b0": (2, 3, 33, 47),
    "regnet_y_400mf": (2, 3, 33, 47),
    "convnext_tiny": (2, 3, 33, 47),
    "fcn_resnet50": (1, 3, 17, 23),
}
NETWORKS = QUICK | SLOW


def network(name: str) -> nn.Module:
    options: dict[str, object] = {}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    if name == "fcn_resnet50":
        options["weights_backbone"] = None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    draw_statistics(module, torch.Generator().manual_seed(0))
    return module


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_network(name: str) -> None:
    shape = NETWORKS[name]
    processor = find_processor("edge_npu")
    # vgg11_bn alone has half a GiB of float weights.
    processor = msgspec.structs.replace(processor, dram=msgspec.structs.replace(processor.dram, size_bytes=1 << 30))
    compiled = compile_network(network(name), shape, processor)
    assert isinstance(compiled, Compiled), str(compiled)
    assert not any(isinstance(operator.function, Host) for operator in compiled.optimised.operators)
    truth = dict(compiled.truth)
    inputs = {"input": truth.pop("input")}
    naive = run_values(compiled.naive, compiled.naive_constants, inputs, run_on_host)
    optimised = run_values(compiled.optimised, compiled.constants, inputs, run_on_host)
    order = np.random.default_rng(0)
    parallel = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, order, run_on_host)
    assert list(truth) == [binding.name for binding in compiled.parallel.outputs]
    for key, expected in truth.items():
        # Against the spread of the outputs, not their size: a constant output must not pass for a right one.
        tolerance = 1e-5 * float(expected.std())
        np.testing.assert_allclose(naive[key], expected, rtol=1e-5, atol=tolerance)
        np.testing.assert_allclose(optimised[key], expected, rtol=1e-5, atol=tolerance)
        np.testing.assert_array_equal(parallel[key], optimised[key])
