"""The regression on draws, against losses whose slopes are known, and the probing of a real network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nas.quota.channels.find import find_groups
from nas.quota.channels.subnet import Subnet
from nas.quota.worth.probe import Slopes, losses_of

BALLS, QUOTA = np.array([40, 60, 20]), 60
SLOPES = np.array([-0.02, -0.01, -0.05])


def pairs_of(generator, count):
    drawn = generator.multivariate_hypergeometric(BALLS, QUOTA, size=count)
    drawn = drawn + generator.integers(0, 4, (count, 1))  # larger ones too
    mirrored = 2 * QUOTA * BALLS // BALLS.sum() - drawn
    return drawn, mirrored


def loss_at(counts):
    away = counts - QUOTA * BALLS / BALLS.sum()
    return 1.0 + away @ SLOPES + 0.003 * (away**2).sum(axis=1)  # the curvature is no concern of pairs


def covariance():
    share = BALLS / BALLS.sum()
    return QUOTA * (BALLS.sum() - QUOTA) / (BALLS.sum() - 1) * (np.diag(share) - np.outer(share, share))


def test_pairs_find_the_slopes_whatever_the_curvature():
    slopes = Slopes(3)
    one, other = pairs_of(np.random.default_rng(0), 8)
    slopes.see(one - other, loss_at(one) - loss_at(other), covariance())
    gains, errors = slopes.earning()
    assert gains == pytest.approx(-SLOPES, rel=0.05)
    assert (errors < 0.005).all()


def test_the_standard_error_is_that_of_many_repetitions():
    generator = np.random.default_rng(1)
    found, told = [], []
    for _ in range(400):
        slopes = Slopes(3)
        one, other = pairs_of(generator, 10)
        slopes.see(one - other, loss_at(one) - loss_at(other) + generator.normal(0, 0.1, 10), covariance())
        gains, errors = slopes.earning()
        found.append(gains)
        told.append(errors)
    assert np.mean(found, axis=0) == pytest.approx(-SLOPES, abs=0.002)
    assert np.mean(told, axis=0) == pytest.approx(np.std(found, axis=0), rel=0.4)


def test_its_state_goes_through_plain_numbers_and_the_past_fades():
    one, other = pairs_of(np.random.default_rng(2), 8)
    first, second = Slopes(3), Slopes(3)
    first.see(one - other, loss_at(one) - loss_at(other), covariance())
    second.load_state(first.state())
    for slopes in (first, second):
        for _ in range(20):
            slopes.see(one - other, 2 * (loss_at(one) - loss_at(other)), covariance())
    assert (first.earning()[0] == second.earning()[0]).all()
    assert first.earning()[0] == pytest.approx(-2 * SLOPES, rel=0.05)


def test_probing_leaves_the_network_as_it_was_and_sees_what_a_cut_one_loses():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
    images, labels = torch.randn(32, 1, 8, 8), torch.randint(0, 3, (32,))
    before = copy.deepcopy(network.state_dict())
    subnet = Subnet(network, find_groups(network, (1, 1, 8, 8)), torch.optim.SGD(network.parameters(), lr=0.1))
    keeps = [{"0": np.arange(6)}, {"0": np.array([0, 2])}]
    losses = losses_of(subnet, keeps, lambda small, batch: nn.functional.cross_entropy(small(images), labels), 1)
    expected = nn.functional.cross_entropy(copy.deepcopy(network).train()(images), labels)
    assert losses[0] == pytest.approx(expected.item(), rel=1e-5)
    assert losses[1] != losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
