"""Prices against networks that were really cut."""

import numpy as np
import pytest
import torch
from torch import nn

import models
from nas.core.errors import InputError
from nas.quota.channels.find import find_groups
from nas.quota.channels.slim import first_channels
from nas.quota.worth.price import PRICES, Subject

SHAPE = (2, 3, 32, 32)
ARCHS = [
    {"model": "shufflenet_v2", "width": 0.5},
    {"model": "mobilenet_v2", "width": 0.25},
    {"model": "svhn_net", "widths": [8, 12, 12, 16], "fc_width": 20},
]


def subject(arch, cycles_of=None, step_of=None):
    network = models.build(arch, 0)
    return Subject(network, find_groups(network, SHAPE), cycles_of, step_of)


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch["model"])
def test_parameters_are_those_of_the_cut_network(arch):
    given = subject(arch)
    price = PRICES["parameters"](given)
    generator = np.random.default_rng(0)
    for _ in range(3):
        counts = {group.name: int(generator.integers(1, group.size + 1)) for group in given.groups.cut}
        small = first_channels(given.network, given.groups, counts)
        assert price(counts) == sum(weight.numel() for weight in small.parameters())


def test_cycles_are_asked_of_a_network_without_numbers():
    asked = []

    def count(network):
        asked.append(next(network.parameters()))
        return float(sum(weight.numel() for weight in network.parameters()))

    given = subject(ARCHS[2], count)
    counts = {group.name: 4 for group in given.groups.cut}
    assert PRICES["cycles"](given)(counts) == PRICES["parameters"](given)(counts)
    assert asked[0].device.type == "meta"
    assert next(given.network.parameters()).device.type == "cpu"
    with pytest.raises(InputError, match="a processor whose cycles are counted"):
        PRICES["cycles"](subject(ARCHS[2]))


def test_time_is_told_apart_from_the_machine_that_slows_down():
    now = [1.0]

    def step_of(network):
        size = sum(weight.numel() for weight in network.parameters())

        def step():
            now[0] *= 1.01  # every step is slower than the one before
            return now[0] * size

        return step

    given = subject(ARCHS[2], None, step_of)
    price, size = PRICES["time"](given), PRICES["parameters"](given)
    sizes = {group.name: group.size for group in given.groups.cut}
    few = dict.fromkeys(sizes, 4)
    for _ in range(5):
        assert price(few) / price(sizes) == pytest.approx(size(few) / size(sizes), rel=0.05)
    with pytest.raises(InputError, match="a trainer whose steps are timed"):
        PRICES["time"](subject(ARCHS[2]))


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch["model"])
def test_time_is_known_of_networks_that_were_not_measured(arch):
    generator, steps = np.random.default_rng(0), []

    def step_of(network):
        images, of_maps = torch.zeros(SHAPE), []
        hooks = [
            module.register_forward_hook(lambda module, given, made: of_maps.append(_work(module, made)))
            for module in network.modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        network.eval()(images)
        for hook in hooks:
            hook.remove()
        steps.append(work := 1e6 + sum(of_maps))
        return lambda: work * generator.uniform(0.95, 1.05)

    given = subject(arch, None, step_of)._replace(align=4)
    price = PRICES["time"](given)
    sizes = {group.name: group.size for group in given.groups.cut}
    price(sizes)
    known, measured = steps[0], len(steps)
    errors = []
    for _ in range(12):
        counts = {name: min(size, int(generator.integers(1, size // 4 + 2)) * 4) for name, size in sizes.items()}
        step_of(first_channels(given.network, given.groups, counts))
        errors.append(price(counts) * known / steps[-1] - 1)
    assert np.sqrt(np.mean(np.square(errors))) < 0.1
    assert len(steps) == measured + 12  # the prices themselves trained nothing more


def _work(module, made):
    """As of a machine that writes a number in the time of ten products."""
    return made.numel() * (10 + module.weight[0].numel())


@pytest.mark.parametrize("name", list(PRICES))
def test_every_price_is_positive_and_grows_to_that_of_the_whole(name):
    def size(network):
        return float(sum(weight.numel() for weight in network.parameters()))

    given = subject(ARCHS[2], size, lambda network: lambda: size(network))
    price = PRICES[name](given)
    whole = price({group.name: group.size for group in given.groups.cut})
    assert 0 < price({group.name: 1 for group in given.groups.cut}) < whole
