"""Slim networks beside the whole ones, and fresh ones that their weights must fit."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import models
from nas.core.errors import InputError
from nas.quota.channels.find import find_groups
from nas.quota.channels.slim import channels_of, shrunk, slim

SHAPE = (1, 3, 32, 32)
FEW = {"model": "mobilenet_v2", "width": 0.25}


def some(groups, seed=0):
    generator = np.random.default_rng(seed)
    return {group.name: np.sort(generator.permutation(group.size)[: max(1, group.size // 2)]) for group in groups.cut}


@pytest.mark.parametrize(
    "arch",
    [
        FEW,
        {"model": "shufflenet_v2", "width": 0.5},
        {"model": "shufflenet_v1", "width": 0.5},
        {"model": "mobilenet_v3"},
        {"model": "dorefa_svhn", "variant": "C", "image_size_px": 32},
        {"model": "svhn_net", "widths": [8, 8, 8, 8], "fc_width": 8},
    ],
    ids=lambda arch: arch["model"],
)
def test_a_fresh_network_of_the_same_numbers_takes_the_weights(arch):
    network = models.build(arch, 0).eval()
    groups = find_groups(network, SHAPE)
    keep = some(groups)
    small = slim(network, groups, keep, SHAPE)
    fresh = shrunk(models.build(network.arch, 1), SHAPE, channels_of(keep)).eval()
    fresh.load_state_dict(small.state_dict(), strict=True)
    images = torch.rand(2, *SHAPE[1:])
    assert torch.equal(fresh(images), small(images))
    assert sum(weight.numel() for weight in small.parameters()) < sum(weight.numel() for weight in network.parameters())


def test_it_exports_and_carries_no_trace_of_the_quota():
    network = models.build(FEW, 0).eval()
    groups = find_groups(network, SHAPE)
    small = slim(network, groups, some(groups), SHAPE)
    assert not any(type(module).__module__.startswith("nas.") for module in small.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.modules())
    images = torch.rand(SHAPE)
    exported = torch.export.export(small, (images,)).module()
    assert torch.allclose(exported(images), small(images), atol=1e-5)


def test_frozen_shared_and_modes_stay():
    layer = nn.Conv2d(6, 6, 3, padding=1)
    network = nn.Sequential(nn.Conv2d(3, 6, 1), layer, nn.ReLU(), layer, nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1))
    network[0].requires_grad_(False)
    network.train()
    network[4].eval()
    groups = find_groups(network, (1, 3, 4, 4))
    before = copy.deepcopy(network.state_dict())
    small = slim(network, groups, {groups.cut[0].name: np.array([1, 3])}, (1, 3, 4, 4))
    assert small[1] is small[3]
    assert tuple(small[1].weight.shape) == (2, 2, 3, 3)
    assert [weight.requires_grad for weight in small[0].parameters()] == [False, False]
    assert small[1].weight.requires_grad
    assert [module.training for module in small] == [True, True, True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Stubborn(nn.Module):
    """Counts on all of its channels, once it is told to."""

    patient = False

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        y = self.first(x)
        assert self.patient or y.shape[1] == 4
        return self.last(y.mean(dim=(2, 3)))


def test_what_cannot_be_slim_is_refused_by_name():
    network = Stubborn()
    assert find_groups(network, (1, 3, 4, 4)).cut == ()
    network.patient = True
    groups = find_groups(network, (1, 3, 4, 4))
    network.patient = False
    with pytest.raises(InputError, match="counts on channels that are gone"):
        slim(network, groups, {group.name: np.array([0]) for group in groups.cut}, (1, 3, 4, 4))
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(64, 2))
    groups = find_groups(plain, (1, 3, 4, 4))
    with pytest.raises(InputError, match=r"quota: 0: expected at least 1 channel to keep, got none .*raise the quota"):
        slim(plain, groups, {"0": np.array([], int)}, (1, 3, 4, 4))
    with pytest.raises(InputError, match=r"a plain .* got one that torch"):
        slim(torch.compile(plain), groups, {"0": np.array([0])}, (1, 3, 4, 4))
    with pytest.raises(InputError, match="of TorchScript"):
        find_groups(torch.jit.trace(plain, torch.zeros(1, 3, 4, 4)), (1, 3, 4, 4))
    with pytest.raises(InputError, match="a lazy one"):
        find_groups(nn.Sequential(nn.LazyConv2d(4, 1)), (1, 3, 4, 4))
    with pytest.raises(InputError, match="channels from 0 to 3"):
        shrunk(plain, (1, 3, 4, 4), {"0": 9})
    with pytest.raises(InputError, match="numbers of channels to keep, got a mask"):
        slim(plain, groups, {"0": np.array([False, True, False, True])}, (1, 3, 4, 4))
    prune.l1_unstructured(plain[0], "weight", 0.5)
    with pytest.raises(InputError, match="0: expected a layer that holds its weight"):
        find_groups(plain, (1, 3, 4, 4))
    prune.remove(plain[0], "weight")
    assert find_groups(plain, (1, 3, 4, 4)).cut[0].size == 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_of_other_precisions_are_slimmed_in_them(dtype):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.Flatten(), nn.Linear(64, 2)).to(dtype)
    groups = find_groups(network, (1, 3, 4, 4))
    small = slim(network, groups, {"0": np.array([1, 3])}, (1, 3, 4, 4))
    assert small(torch.rand(1, 3, 4, 4, dtype=dtype)).dtype == dtype
    assert small[1].num_parameters == 2
