"""Slim networks, with the odd widths that a quota leaves: compiled, and equal to PyTorch."""

import numpy as np
import pytest
import torch

import models
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.hw.load import find_processor
from nas.quota.channels.find import find_groups
from nas.quota.channels.slim import slim
from nas.sim.values import run_values
from tests.networks import draw_statistics

SHAPE = (1, 3, 32, 32)
ARCHS = [
    {"model": "svhn_net", "widths": [9, 12, 12, 17], "fc_width": 20},
    {"model": "shufflenet_v2", "width": 0.5},
    pytest.param({"model": "mobilenet_v2", "width": 0.35}, marks=pytest.mark.slow),
    pytest.param({"model": "resnet", "depth": 18}, marks=pytest.mark.slow),
    pytest.param({"model": "mobilenet_v3"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch["model"])
def test_it_compiles_and_computes_what_torch_does(arch):
    network = models.build(arch, 0)
    draw_statistics(network, torch.Generator().manual_seed(0))
    groups = find_groups(network, SHAPE)
    generator = np.random.default_rng(0)
    keep = {
        group.name: generator.permutation(group.size)[: int(generator.integers(1, group.size + 1))]
        for group in groups.cut
    }
    compiled = compile_network(slim(network.eval(), groups, keep, SHAPE), SHAPE, find_processor("edge_npu"))
    assert isinstance(compiled, Compiled), str(compiled)
    truth = dict(compiled.truth)
    found = run_values(compiled.optimised, compiled.constants, {"input": truth.pop("input")}, run_on_host)
    for key, expected in truth.items():
        np.testing.assert_allclose(found[key], expected, rtol=1e-5, atol=1e-5 * float(expected.std()))
