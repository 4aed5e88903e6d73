"""Importance against what really happens to the loss when a channel is scaled, and where channels are few and known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import models
from nas.core.errors import InputError
from nas.quota.channels.find import find_groups
from nas.quota.channels.subnet import Subnet
from nas.quota.worth.importance import IMPORTANCES, taylor


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 3)
    )


def loss_of(network):
    torch.manual_seed(1)
    return nn.functional.cross_entropy(network(torch.randn(16, 3, 8, 8)), torch.randint(0, 3, (16,)))


def test_it_is_the_square_of_the_slope_of_the_loss_along_a_channel():
    network = small_network()
    groups = find_groups(network, (1, 3, 8, 8))
    loss_of(network).backward()
    importance = taylor(groups)
    importance.see(network, {}, {})
    found = importance.values()
    for group in groups.cut:
        for channel in range(group.size):
            losses = []
            for scale in (0.99, 1.01):  # d loss / d scale of all that makes the channel
                other = copy.deepcopy(network)
                with torch.no_grad():
                    tensors = dict(other.named_parameters())
                    for part in group.parts:
                        if part.axis == 0 and part.name in tensors:
                            tensors[part.name][part.places[channel]] *= scale
                losses.append(loss_of(other).item())
            slope = (losses[1] - losses[0]) / 0.02
            assert found[group.name][channel] == pytest.approx(slope**2, rel=0.1, abs=1e-6)


def test_only_what_was_drawn_is_judged_and_its_rows_are_found_among_those_of_others():
    network = models.build({"model": "svhn_net", "widths": [8, 8, 8, 8], "fc_width": 8}, 0)
    groups = find_groups(network, (1, 3, 32, 32))
    subnet = Subnet(network, groups, torch.optim.SGD(network.parameters(), lr=0.0))
    keep = {group.name: np.array([1, 4, 6]) for group in groups.cut}
    small, _ = subnet.take(keep)
    torch.manual_seed(0)
    small(torch.randn(4, 3, 32, 32)).square().sum().backward()
    importance = taylor(groups)
    importance.see(small, keep, subnet.places)
    for values in importance.values().values():
        assert np.isfinite(values).nonzero()[0].tolist() == [1, 4, 6]


def test_its_state_goes_through_plain_numbers():
    network = small_network()
    groups = find_groups(network, (1, 3, 8, 8))
    loss_of(network).backward()
    one, other = taylor(groups), taylor(groups)
    one.see(network, {}, {})
    other.load_state(one.state())
    one.see(network, {}, {})
    other.see(network, {}, {})
    for name, values in one.values().items():
        assert (values == other.values()[name]).all()
    with pytest.raises(InputError, match="quota checkpoint: importance"):
        other.load_state({"another": {}})


def test_the_scale_of_the_batch_norm_behind_it_is_the_other_way():
    network = models.build({"model": "svhn_net", "widths": [4, 4, 4, 4], "fc_width": 4}, 0)
    groups = find_groups(network, (1, 3, 32, 32))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(torch.tensor([1.0, -3.0, 0.5, 2.0]))
    importance = IMPORTANCES["batch_norm_scale"](groups, 0.9)
    importance.see(network, {}, {})
    for values in importance.values().values():
        assert values == pytest.approx([1.0, 9.0, 0.25, 4.0])
    with pytest.raises(InputError, match="expected a batch norm behind it, got none"):
        IMPORTANCES["batch_norm_scale"](find_groups(small_network(), (1, 3, 8, 8)), 0.9)
