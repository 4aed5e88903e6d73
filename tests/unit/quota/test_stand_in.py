"""Channels that others can stand in for: found, in order, with what is lost, and handed over; against numpy's own least squares."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nas.quota.channels.cut import cut
from nas.quota.channels.find import find_groups
from nas.quota.channels.subnet import Subnet
from nas.quota.worth.readers import Moments, moments_of, readers_of
from nas.quota.worth.stand_in import hand_over, ranking

SHAPE = (1, 3, 8, 8)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=True), nn.ReLU(),
        nn.Flatten(), nn.Linear(5 * 36, 4),
    ).eval()  # fmt: skip


def doubled():
    """Channels 4 and 5 of the first layer are what 1 is, and twice 0."""
    whole = network()
    with torch.no_grad():
        for copied, of, factor in ((4, 1, 1.0), (5, 0, 2.0)):
            whole[0].weight[copied], whole[0].bias[copied] = factor * whole[0].weight[of], factor * whole[0].bias[of]
    return whole


def run(small, batch):
    torch.manual_seed(batch)
    small(torch.randn(16, 3, 8, 8))


def outputs(network, images):
    with torch.no_grad():
        return network(images).numpy()


def looked_at(whole):
    groups = find_groups(whole, SHAPE)
    return groups, moments_of(whole, readers_of(whole, groups), {}, {}, run, 3)


def test_a_channel_that_is_another_goes_last_and_what_it_did_is_handed_over():
    whole = doubled()
    groups, moments = looked_at(whole)
    found = ranking(moments["0"])
    assert sorted(found.order.tolist()) == list(range(6))
    assert not {1, 4} <= set(found.order[:4].tolist())
    assert not {0, 5} <= set(found.order[:4].tolist())
    assert found.lost[0] == 1
    assert found.lost[4] < 5e-3 < found.lost[3]
    keep = {"0": np.sort(found.order[:4]), "3": np.arange(5)}
    images = torch.randn(4, 3, 8, 8)
    plain, wanted = outputs(cut(whole, groups, keep), images), outputs(whole, images)
    hand_over(whole, moments, {"0": np.arange(6), "3": np.arange(5)}, keep)
    assert outputs(cut(whole, groups, keep), images) == pytest.approx(wanted, abs=0.03)
    assert np.abs(plain - wanted).max() > 0.05


def test_lost_and_estimates_are_those_of_least_squares_on_what_was_read():
    whole = network()
    _, moments = looked_at(whole)
    read = []
    handle = whole[6].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    for batch in range(3):
        with torch.no_grad():
            run(whole, batch)
    handle.remove()
    samples = torch.cat(read).reshape(-1, 5, 36).transpose(1, 2).reshape(-1, 5).double().numpy()
    samples = samples - samples.mean(0)
    found = ranking(moments["3"])
    kept, gone = found.order[:3], found.order[3:]
    estimate, *_ = np.linalg.lstsq(samples[:, kept], samples[:, gone], rcond=None)
    rest = samples.copy()
    rest[:, kept], rest[:, gone] = 0, samples[:, gone] - samples[:, kept] @ estimate
    weights = whole[6].weight.detach().double().numpy().reshape(4, 5, 36)
    explained = [sum(np.var(samples @ weights[row, :, at]) for at in range(36)) for row in range(4)]
    left = [sum(np.var(rest @ weights[row, :, at]) for at in range(36)) for row in range(4)]
    assert found.lost[3] == pytest.approx(np.mean(np.array(left) / explained), rel=0.05)
    before = whole[6].weight.detach().clone().reshape(4, 5, 36)
    keep = {"0": np.arange(6), "3": np.sort(kept)}
    hand_over(whole, moments, {"0": np.arange(6), "3": np.arange(5)}, keep)
    wanted = before[:, kept].double() + torch.einsum(
        "ngc,kg->nkc", before[:, gone].double(), torch.from_numpy(estimate)
    )
    assert whole[6].weight.detach().reshape(4, 5, 36)[:, kept].double().numpy() == pytest.approx(
        wanted.numpy(), abs=1e-4
    )


def test_the_network_that_is_looked_at_stays_as_it_is():
    whole = network().train()
    before = copy.deepcopy(whole.state_dict())
    groups = find_groups(whole, SHAPE)
    moments_of(whole, readers_of(whole, groups), {}, {}, run, 1)
    assert all(torch.equal(before[name], value) for name, value in whole.state_dict().items())
    assert all(module.training for module in whole.modules())
    assert not any(module._forward_pre_hooks for module in whole.modules())


def test_of_a_sub_network_only_what_it_has_is_seen():
    whole = doubled()
    groups = find_groups(whole, SHAPE)
    keep = {"0": np.array([0, 2, 5])}
    subnet = Subnet(whole, groups, torch.optim.SGD(whole.parameters(), lr=0.0))
    small, _ = subnet.take(keep, training=False)
    moments = moments_of(small, readers_of(whole, groups), keep, subnet.places, run, 1)["0"][0]
    assert moments.covariance.shape == (3, 3)
    assert moments.weights.shape == (5, 9, 3)
    assert np.array_equal(moments.weights[:, 0, 2], whole[3].weight[:, 5, 0, 0].detach().double().numpy())


def test_grouped_convolutions_and_nobody_as_readers():
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 3), nn.Flatten())
    groups = find_groups(whole, SHAPE)
    assert {reader.layer for reader in readers_of(whole, groups)["0"]} == {"2"}
    assert ranking([]) is None


def test_many_channels_that_say_the_same_are_ranked_in_spite_of_rounding():
    """600 channels, of which 40 are independent, several chosen at once: their covariance is not quite positive."""
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(600, 40))
    rounding = generator.normal(size=(600, 600)) * 1e-2
    covariance = mixed @ mixed.T + rounding + rounding.T
    moments = Moments(None, np.zeros(600), covariance, generator.normal(size=(8, 1, 600)))
    found = ranking([moments])
    assert sorted(found.order.tolist()) == list(range(600))
    assert np.all(np.diff(found.lost) <= 0)
    assert found.lost[60] < 0.05
