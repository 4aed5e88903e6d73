"""Cut networks against whole ones in which nobody reads what was cut: their consumers see zeros there."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import models
from nas.core.errors import InputError
from nas.quota.channels.cut import cut
from nas.quota.channels.find import find_groups
from nas.quota.channels.sizes import counts_in
from nas.quota.channels.slim import slim


def zeros_at(places, axis):
    return lambda layer, inputs: inputs[0].index_fill(axis, torch.tensor(places), 0.0)


def blind(network, groups, keep):
    """A copy whose layers read zeros in place of the channels that are not kept, by hooks on their inputs."""
    copied = copy.deepcopy(network)
    for group in groups.cut:
        gone = np.setdiff1d(np.arange(group.size), keep[group.name])
        for part in group.parts:
            layer = copied.get_submodule(part.name.rpartition(".")[0])
            if part.axis != 1 or not part.name.endswith("weight") or not len(gone):
                continue
            places = part.places[gone].ravel()
            if isinstance(layer, nn.Conv2d):
                step = layer.in_channels // layer.groups
                places = np.concatenate([places + index * step for index in range(layer.groups)])
            axis = -1 if isinstance(layer, nn.Linear) else 1
            layer.register_forward_pre_hook(zeros_at(places, axis))
    return copied


def lively(network):
    """Batch norms with statistics of their own, so that a channel of zeros is not zero behind them."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.track_running_stats:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight, 1, 0.3)
                nn.init.normal_(module.bias, 0, 0.3)
    for name, weight in network.named_parameters():
        if name.endswith("layer_scale"):  # or else the blocks of a fresh ConvNeXt do next to nothing
            nn.init.normal_(weight, 1, 0.3)
    return network.eval()


def random_keep(groups, seed, always=()):
    generator = np.random.default_rng(seed)
    return {
        group.name: np.union1d(generator.permutation(group.size)[: int(generator.integers(1, group.size + 1))], always)
        for group in groups.cut
    }


def assert_cut_is_blind(network, size, seed, always=()):
    groups = find_groups(network, (1, 3, size, size))
    keep = random_keep(groups, seed, always)
    small, whole = cut(network, groups, keep), blind(network, groups, keep)
    torch.manual_seed(seed)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected, got, full = whole(images), small(images), network(images)
    assert (got - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert (full - expected).abs().max() > 1e-3 * expected.abs().max()
    assert sum(weight.numel() for weight in small.parameters()) < sum(weight.numel() for weight in network.parameters())
    return groups


TORCHVISION = {
    "resnet18": 64,
    "shufflenet_v2_x1_0": 64,
    "mobilenet_v3_small": 64,
    "mobilenet_v2": 64,
    "squeezenet1_1": 64,
}
SLOW = {
    "googlenet": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "regnet_y_400mf": 64,
    "resnext50_32x4d": 64,
    "inception_v3": 96,
    "alexnet": 96,
    "convnext_tiny": 64,
}


@pytest.mark.parametrize(
    ("name", "size"),
    [*TORCHVISION.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in SLOW.items())],
)
def test_cutting_random_channels_is_the_same_as_not_reading_them(name, size):
    options = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    network = lively(getattr(torchvision.models, name)(weights=None, **options))
    for seed in range(2):
        assert_cut_is_blind(network, size, seed)


def test_the_svhn_net_has_a_group_for_each_layer_and_keeps_its_output():
    network = lively(models.build({"model": "svhn_net"}, 0))
    groups = assert_cut_is_blind(network, 32, 0)
    assert [group.size for group in groups.cut] == [96, 128, 128, 256, 512]
    assert list(groups.kept.values()) == ["output of the network"]


@pytest.mark.parametrize("name", ["shufflenet_v1", "shufflenet_v2", "mobilenet_v3"])
def test_groups_are_the_same_channels_last(name):
    network = lively(models.build({"model": name, "width": 0.5}, 0))
    expected = find_groups(network, (1, 3, 32, 32))
    found = find_groups(network.to(memory_format=torch.channels_last), (1, 3, 32, 32))
    assert [(group.name, group.size) for group in found.cut] == [(group.name, group.size) for group in expected.cut]
    assert found.kept == expected.kept
    assert not next(iter(network.parameters())).is_contiguous()  # the network is left as it was


def test_channels_that_are_stacked_are_cut_alike():
    def forward(net, x):
        return net.last(torch.stack((net.first(x), net.second(x)), dim=2).flatten(1, 2)).mean((2, 3))

    layers = {"first": nn.Conv2d(3, 8, 1), "second": nn.Conv2d(3, 8, 1), "last": nn.Conv2d(16, 4, 1)}
    groups = assert_cut_is_blind(lively(Toy(forward, **layers)), 8, 0)
    assert [group.size for group in groups.cut] == [8]


STAGES = {
    "conv": {"block": "conv", "depth": 2, "width": 12, "kernel": 3, "stride": 2, "expansion": 1},
    "mobile_v2": {"block": "mobile_v2", "depth": 2, "width": 12, "kernel": 5, "stride": 2, "expansion": 3},
    "shuffle_v2": {"block": "shuffle_v2", "depth": 2, "width": 12, "kernel": 3, "stride": 2, "expansion": 1},
}


@pytest.mark.parametrize("bits", [32, 4])
@pytest.mark.parametrize("block", list(STAGES))
def test_quantised_blocks_are_cut_too(block, bits):
    stage = {**STAGES[block], "weight_bits": bits, "activation_bits": bits}
    network = lively(
        models.build({"model": "searchable", "stem_width": 8, "stages": [stage, stage], "head_width": 16}, 0)
    )
    with torch.no_grad():
        for weight in network.parameters():
            weight.view(-1)[0] = 3.0  # the greatest weight sets a quantiser's scale, so it has to stay
    groups = assert_cut_is_blind(network, 32, 1, always=(0,))
    assert list(groups.kept.values()) == ["output of the network"]


class Toy(nn.Module):
    def __init__(self, forward, **layers):
        super().__init__()
        self.compute = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.compute(self, x)


def test_what_mixes_channels_keeps_them_and_says_why():
    network = Toy(
        lambda self, x: self.last(self.first(x).softmax(dim=1).flatten(1)),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Linear(4 * 16, 2),
    )
    groups = find_groups(network, (1, 3, 4, 4))
    assert groups.cut == ()
    assert "softmax in the network mixes channels" in groups.kept["first"]


def test_a_layer_used_twice_ties_both_its_inputs():
    network = Toy(
        lambda self, x: self.last(self.shared(self.shared(self.first(x)))),
        first=nn.Conv2d(3, 6, 1),
        shared=nn.Conv2d(6, 6, 3, padding=1),
        last=nn.Conv2d(6, 2, 1),
    )
    (group,) = find_groups(network, (1, 3, 4, 4)).cut
    assert group.size == 6
    assert {(part.name, part.axis) for part in group.parts} >= {
        ("first.weight", 0),
        ("shared.weight", 0),
        ("shared.weight", 1),
        ("last.weight", 1),
    }


def test_groups_that_begin_in_one_layer_have_names_of_their_own():
    def forward(net, x):
        y = net.first(x)
        return net.last((y + torch.cat([net.left(y), net.right(y)], 1)).relu())

    network = Toy(
        forward,
        first=nn.Conv2d(3, 8, 1),
        left=nn.Conv2d(8, 4, 1),
        right=nn.Conv2d(8, 4, 3, padding=1),
        last=nn.Conv2d(8, 5, 1),
    )
    groups = find_groups(network, (1, 3, 8, 8))
    assert [(group.name, group.size) for group in groups.cut] == [("first", 4), ("first@2", 4)]
    small = cut(network, groups, {"first": np.arange(3), "first@2": np.arange(1)})
    assert (small.first.out_channels, small.left.out_channels, small.right.out_channels) == (4, 3, 1)
    assert counts_in(small, network, groups) == {"first": 3, "first@2": 1}
    small.last = nn.Conv2d(3, 5, 1)
    with pytest.raises(InputError, match="shapes tell the channels of each group"):
        counts_in(small, network, groups)


def test_the_network_is_left_as_it_was():
    network = models.build({"model": "svhn_net"}, 0).train()
    network.get_submodule(
        next(name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d))
    ).eval()
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    find_groups(network, (1, 3, 32, 32))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_frozen_and_shared_parameters_stay_so_and_the_layers_tell_the_truth():
    network = Toy(
        lambda self, x: self.last(self.norm(self.first(x))),
        first=nn.Conv2d(3, 6, 1),
        norm=nn.BatchNorm2d(6),
        last=nn.Conv2d(6, 6, 1),
    )
    network.alias = network.first
    network.first.weight.requires_grad_(False)
    small = cut(network, find_groups(network, (1, 3, 4, 4)), {"first": np.array([1, 4])})
    assert small.alias is small.first
    assert not small.first.weight.requires_grad
    assert small.first.bias.requires_grad
    assert torch.equal(small.first.weight, network.first.weight[[1, 4]])
    assert (small.first.out_channels, small.norm.num_features, small.last.in_channels) == (2, 2, 2)
    assert small.training


def test_what_cannot_be_cut_is_refused_by_name():
    network = models.build({"model": "svhn_net"}, 0)
    groups = find_groups(network, (1, 3, 32, 32))
    name = groups.cut[0].name
    with pytest.raises(InputError, match=r"at least 1 channel to keep, got none .*raise the quota"):
        cut(network, groups, {name: np.array([], int)})
    with pytest.raises(InputError, match=rf"{name}: expected channels from 0 to 95, got \[0, 96\]"):
        cut(network, groups, {name: np.array([0, 96])})
    with pytest.raises(InputError, match="must stay whole: output of the network"):
        cut(network, groups, {"classifier": np.array([0])})
    with pytest.raises(InputError, match=r"expected a plain nn.Module, got one that torch.compile made"):
        find_groups(torch.compile(network), (1, 3, 32, 32))


def _of_all(net, x):
    y = net.first(x).relu()
    return net.last(y / y.amax())


def _by_its_mean(net, x):
    y = net.first(x)
    return net.last(y * y.mean())


def _option_a(net, x):
    return net.last(net.first(x) + nn.functional.pad(net.second(x), (0, 0, 0, 0, 1, 1)))


def _with_zeros(net, x):
    zeros = torch.zeros(len(x), 2, *x.shape[2:])
    return net.last(net.first(x) + torch.cat([net.second(x), zeros], 1))


def _with_the_image(net, x):
    return net.last(net.first(x) + x.repeat(1, 2, 1, 1))


@pytest.mark.parametrize("forward", [_of_all, _by_its_mean, _option_a, _with_zeros, _with_the_image])
def test_what_depends_on_all_channels_or_meets_none_is_kept(forward):
    layers = {"first": nn.Conv2d(3, 6, 1), "second": nn.Conv2d(3, 4, 1), "last": nn.Conv2d(6, 2, 1)}
    groups = find_groups(Toy(forward, **layers), (1, 3, 4, 4))
    assert groups.cut == ()
    assert "first" in groups.kept


def test_what_is_new_and_of_the_same_shape_does_not_keep_channels():
    def forward(net, x):
        y = net.first(x)
        other = torch.empty_like(y)
        other.copy_(net.second(x))
        return net.last(other + y + torch.zeros_like(y))

    layers = {"first": nn.Conv2d(3, 6, 1), "second": nn.Conv2d(3, 6, 1), "last": nn.Conv2d(6, 2, 1)}
    groups = assert_cut_is_blind(lively(Toy(forward, **layers)), 8, 0)
    assert [group.size for group in groups.cut] == [6]


def test_circular_padding_keeps_what_it_pads():
    layers = {"first": nn.Conv2d(3, 6, 3, padding=1), "last": nn.Conv2d(6, 5, 3, padding=1, padding_mode="circular")}
    groups = find_groups(Toy(lambda net, x: net.last(net.first(x)), **layers), (1, 3, 4, 4))
    assert groups.cut == ()


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        (lambda y: y.chunk(2, 1), [3]),
        (lambda y: y.unflatten(1, (2, -1)).unbind(1), [3]),
        (lambda y: y.split(3, 1), []),
        (lambda y: torch.split(y, 3, dim=1), []),
        (lambda y: y.split([3, 3], 1), []),
        (lambda y: torch.split_with_sizes(y, [3, 3], 1), []),
        (lambda y: [part.squeeze(3) for part in y.split(1, dim=3)][:2], [6]),
    ],
)
def test_parts_whose_size_is_written_in_the_code_keep_it(split, sizes):
    def forward(net, x):
        left, right = split(net.first(x))
        return net.last((left * right).flatten(2).mean(2))

    torch.manual_seed(0)
    network = lively(Toy(forward, first=nn.Conv2d(3, 6, 1), last=nn.Linear(sizes[0] if sizes else 3, 2)))
    assert [group.size for group in find_groups(network, (1, 3, 4, 4)).cut] == sizes
    if sizes:
        assert_cut_is_blind(network, 4, 0)


@pytest.mark.parametrize(
    "norm",
    [
        nn.InstanceNorm2d(6, affine=True),
        nn.InstanceNorm2d(6, track_running_stats=True),
        nn.BatchNorm2d(6, track_running_stats=False),
        nn.BatchNorm2d(6, affine=False),
    ],
)
def test_norms_of_all_kinds_tell_how_many_channels_are_left(norm):
    network = Toy(
        lambda net, x: net.last(net.norm(net.first(x))),
        first=nn.Conv2d(3, 6, 1),
        norm=norm,
        last=nn.Conv2d(6, 2, 1),
    )
    groups = assert_cut_is_blind(lively(network), 8, 0)
    assert slim(network, groups, {"first": np.arange(2)}, (1, 3, 8, 8)).norm.num_features == 2
    assert cut(network, groups, {}).norm.num_features == 6


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1), (1, 8, 6, 6), (8, 6, 6)])
def test_scales_and_positions_lose_the_channels_of_what_they_are_for(shape):
    net = Toy(
        lambda self, x: self.last(torch.relu(self.first(x) * self.scale + self.place)),
        first=nn.Conv2d(3, 8, 3, padding=1),
        last=nn.Conv2d(8, 6, 1),
    )
    net.scale, net.place = nn.Parameter(torch.rand(shape)), nn.Parameter(torch.rand(shape[-3:]))
    (group,) = find_groups(net, (1, 3, 6, 6)).cut
    assert group.size == 8
    assert_cut_is_blind(net, 6, seed=0)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 3, 8, 8)])
def test_a_shape_that_the_network_cannot_run_on_is_refused_by_name(shape):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 30 * 30, 10))
    with pytest.raises(InputError, match=r"quota: input_shape: expected what the network can run on, got \(1, "):
        find_groups(network, shape)
