"""A drawn sub-network's training against the training of a separate cut network, and what was not drawn against before."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import models
from nas.quota.channels.cut import cut
from nas.quota.channels.find import find_groups
from nas.quota.channels.subnet import Subnet

OPTIMIZERS = {
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1),
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
}
STAGES = [
    {
        "block": "mobile_v2",
        "depth": 1,
        "width": 8,
        "kernel": 3,
        "stride": 2,
        "expansion": 2,
        "weight_bits": 32,
        "activation_bits": 32,
    },
    {
        "block": "shuffle_v2",
        "depth": 2,
        "width": 8,
        "kernel": 3,
        "stride": 2,
        "expansion": 1,
        "weight_bits": 4,
        "activation_bits": 4,
    },
]


def build():
    return models.build({"model": "searchable", "stem_width": 8, "stages": STAGES, "head_width": 8}, 0)


def step(network, optimizer, seed):
    torch.manual_seed(seed)
    images, labels = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))
    loss = nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def half(groups, seed):
    generator = np.random.default_rng(seed)
    return {group.name: np.sort(generator.permutation(group.size)[: max(1, group.size // 2)]) for group in groups.cut}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_all_channels_train_as_the_network_itself(name):
    network, other = build(), build()
    optimizer, plain = OPTIMIZERS[name](network.parameters()), OPTIMIZERS[name](other.parameters())
    subnet = Subnet(network, find_groups(network, (1, 3, 32, 32)), optimizer)
    for seed in range(3):
        small, own = subnet.take({})
        assert step(small, own, seed) == step(other, plain, seed)
        subnet.give_back()
    for (key, weight), expected in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(weight, expected), key


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_sub_network_trains_as_a_network_cut_for_good(name):
    network = build()
    optimizer = OPTIMIZERS[name](network.parameters())
    for seed in range(2):
        step(network, optimizer, seed)  # so that the optimiser has a state
    groups = find_groups(network, (1, 3, 32, 32))
    keep = half(groups, 0)
    alone = cut(network, groups, keep)
    plain = OPTIMIZERS[name](alone.parameters())
    state = {key: copy.deepcopy(value) for key, value in optimizer.state_dict()["state"].items()}
    cut_state = cut_like(network, groups, keep, state)
    plain.load_state_dict({"state": cut_state, "param_groups": plain.state_dict()["param_groups"]})
    subnet = Subnet(network, groups, optimizer)
    small, own = subnet.take(keep)
    for seed in range(3):
        assert step(small, own, seed) == pytest.approx(step(alone, plain, seed), rel=1e-5)
    subnet.give_back()
    again = cut(network, groups, keep)
    for (key, weight), expected in zip(again.state_dict().items(), alone.state_dict().values(), strict=True):
        assert torch.allclose(weight.float(), expected.float(), atol=1e-5), key


def cut_like(network, groups, keep, state):
    """The optimiser's state cut by putting it into a copy of the network, in the place of the weights."""
    result = {index: dict(entry) for index, entry in state.items()}
    for key in {key for entry in state.values() for key in entry}:
        carrier = copy.deepcopy(network)
        with torch.no_grad():
            for index, weight in enumerate(carrier.parameters()):
                if state[index][key].shape == weight.shape:
                    weight.copy_(state[index][key])
        for index, weight in enumerate(cut(carrier, groups, keep).parameters()):
            if state[index][key].dim():
                result[index][key] = weight.detach().clone()
    return result


def test_what_was_not_drawn_does_not_change_and_the_rest_does():
    network = build()
    optimizer = OPTIMIZERS["adamw"](network.parameters())
    step(network, optimizer, 0)
    groups = find_groups(network, (1, 3, 32, 32))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    momenta = {key: optimizer.state[weight]["exp_avg"].clone() for key, weight in network.named_parameters()}
    subnet = Subnet(network, groups, optimizer)
    keep = half(groups, 1)
    small, own = subnet.take(keep)
    step(small, own, 1)
    subnet.give_back()
    after, weights = network.state_dict(), dict(network.named_parameters())
    for group in groups.cut:
        gone = np.setdiff1d(np.arange(group.size), keep[group.name])
        for part in group.parts:
            places = torch.tensor(part.places[gone].ravel())
            assert torch.equal(
                after[part.name].index_select(part.axis, places), before[part.name].index_select(part.axis, places)
            )
            if part.name in weights:
                momentum = optimizer.state[weights[part.name]]["exp_avg"]
                assert torch.equal(
                    momentum.index_select(part.axis, places), momenta[part.name].index_select(part.axis, places)
                )
    changed = [key for key, tensor in after.items() if not torch.equal(tensor, before[key])]
    assert len(changed) == len(after)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_taken_again_it_is_as_if_taken_anew_even_where_the_whole_was_changed(name):
    networks = build(), build()
    results = []
    for network, again in zip(networks, (True, False), strict=True):
        optimizer = OPTIMIZERS[name](network.parameters())
        groups = find_groups(network, (1, 3, 32, 32))
        subnet, keep = Subnet(network, groups, optimizer), half(groups, 2)
        for seed in range(4):
            if seed == 2:
                with torch.no_grad():
                    for weight in network.parameters():
                        weight.mul_(0.9)
            if seed == 3:
                optimizer.param_groups[0]["lr"] = 1e-4
            small, own = subnet.take(keep if again else dict(keep))
            step(small, own, seed)
            subnet.give_back()
        results.append(network.state_dict())
    for key, tensor in results[0].items():
        assert torch.equal(tensor, results[1][key]), key


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_given_back_at_the_end_alone_it_is_as_if_given_back_after_each_step(name):
    networks = build(), build()
    for network, each_time in zip(networks, (True, False), strict=True):
        optimizer = OPTIMIZERS[name](network.parameters())
        groups = find_groups(network, (1, 3, 32, 32))
        subnet, keep = Subnet(network, groups, optimizer), half(groups, 2)
        before = copy.deepcopy(network.state_dict())
        for seed in range(4):
            small, own = subnet.take(keep)
            step(small, own, seed)
            if each_time:
                subnet.give_back()
            elif seed == 3:
                assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
        subnet.give_back()
    for key, tensor in networks[0].state_dict().items():
        assert torch.equal(tensor, networks[1].state_dict()[key]), key


def test_what_was_drawn_before_the_weights_were_loaded_is_not_given_back():
    network = build()
    subnet = Subnet(network, find_groups(network, (1, 3, 32, 32)), torch.optim.SGD(network.parameters(), lr=0.1))
    small, own = subnet.take({})
    step(small, own, 0)
    loaded = copy.deepcopy(network.state_dict())
    network.load_state_dict(loaded)
    subnet.drop()
    subnet.give_back()
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in network.state_dict().items())
