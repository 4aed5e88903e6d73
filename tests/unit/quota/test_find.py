"""What no look at a single run can tell: networks whose code counts their channels, beside ones in which nobody reads what was cut."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.quota.channels.find import BRANCH, COUNTED, find_groups
from nas.quota.channels.slim import slim

SHAPE = (2, 3, 4, 4)


class Between(nn.Module):
    """Something between a convolution of 16 channels and a layer that reads them."""

    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.between, self.last = nn.Conv2d(3, 16, 1), between, nn.Conv2d(16, 2, 1, bias=False)

    def forward(self, x):
        return self.last(self.between(self.first(x)))


def dealt(*parts):
    """Channel shuffle, with the parts written one way or the other."""
    return lambda y: y.view(len(y), *parts, *y.shape[2:]).transpose(1, 2).reshape(y.shape)


def twice(y):
    halves = y.view(len(y), 2, -1, *y.shape[2:])
    return halves.view(len(y), 2, 2, -1, *y.shape[2:]).transpose(2, 3).reshape(y.shape)


def again(y):
    return y.view(len(y), 2, -1, *y.shape[2:]).reshape(len(y), 4, -1, *y.shape[2:]).transpose(1, 2).reshape(y.shape)


def unread(network, groups, keep):
    """A copy in which what is not kept is computed by zeros, and read with zeros."""
    copied = copy.deepcopy(network)
    for group in groups.cut:
        gone = np.setdiff1d(np.arange(group.size), keep[group.name])
        for part in group.parts:
            copied.get_parameter(part.name).data.index_fill_(part.axis, torch.tensor(part.places[gone].ravel()), 0.0)
    return copied.eval()


@pytest.mark.parametrize(
    ("between", "size"),
    [
        (dealt(2, -1), 8),
        (dealt(2, 2, -1), 4),
        (dealt(4, 2, -1), 2),
        (twice, 4),
        (again, 4),
        (lambda y: y.roll(1, 3), 16),
    ],
    ids=["parts", "parts of parts", "more of them", "split twice", "split anew", "rolled along a row"],
)
def test_channels_in_parts_are_cut_alike_in_each(between, size):
    network = Between(between).eval()
    groups = find_groups(network, SHAPE)
    assert [group.size for group in groups.cut] == [size]
    images = torch.rand(SHAPE)
    for seed in range(4):
        drawn = np.random.default_rng(seed).permutation(size)[: max(1, size // 2)]
        small = slim(network, groups, {"first": drawn}, SHAPE)
        assert torch.allclose(small(images), unread(network, groups, {"first": drawn})(images), atol=1e-6)


@pytest.mark.parametrize(
    "between",
    [
        dealt(-1, 2),
        dealt(-1, 8),
        lambda y: dealt(y.shape[1] // 2, 2)(y),
        lambda y: y / y.shape[1] ** 0.5,
        lambda y: y.mul(1 / y.numel()),
        lambda y: y.view(len(y), 16, 4, 4),
    ],
    ids=[
        "parts by the channel",
        "two parts of them",
        "as many parts as there are",
        "by a root",
        "by all",
        "a size in the code",
    ],
)
def test_channels_that_the_code_counts_are_kept(between):
    groups = find_groups(Between(between), SHAPE)
    assert groups.cut == ()
    assert groups.kept["first"].startswith(COUNTED)


def test_channels_that_roll_are_kept():
    for shift in (lambda y: y.roll(2, 1), lambda y: y.roll(3), lambda y: y.roll((1, 1), (2, -3))):
        groups = find_groups(Between(shift), SHAPE)
        assert groups.cut == ()
        assert "roll" in groups.kept["first"]


class Mirrored(nn.Module):
    """A decoder with the weights of the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 1, bias=False), nn.Conv2d(16, 8, 1, bias=False)

    def forward(self, x):
        code = self.second(self.first(x))
        return nn.functional.conv2d(
            nn.functional.conv2d(code, self.second.weight.transpose(0, 1)), self.first.weight.transpose(0, 1)
        )


class Fed(nn.Module):
    """A layer that knows the size of what it reads behind one that could be cut, and another branch that is free."""

    def __init__(self, layer, read) -> None:
        super().__init__()
        self.first, self.layer, self.read = nn.Conv2d(3, 16, 1), layer, read
        self.free, self.last = nn.Conv2d(3, 16, 1), nn.Linear(16, 2)

    def forward(self, x):
        return self.read(self.layer, self.first(x).flatten(2).mT), self.last(self.free(x).mean((2, 3)))


def test_weights_that_are_turned_have_their_columns_as_outputs():
    network = Mirrored().eval()
    groups = find_groups(network, SHAPE)
    assert [(group.name, group.size) for group in groups.cut] == [("first", 16), ("second", 8)]
    keep, images = {"first": np.array([1, 4, 9]), "second": np.array([0, 6])}, torch.rand(SHAPE)
    assert torch.allclose(slim(network, groups, keep, SHAPE)(images), unread(network, groups, keep)(images), atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "read"),
    [
        (nn.GRU(16, 4, batch_first=True), lambda layer, y: layer(y)[0]),
        (nn.MultiheadAttention(16, 2, batch_first=True), lambda layer, y: layer(y, y, y)[0]),
        (nn.RNNCell(16, 16), lambda layer, y: layer(y[:, 0], y[:, 1])),
    ],
    ids=["gru", "attention", "cell"],
)
def test_what_layers_of_a_size_read_is_kept_and_the_rest_is_cut(layer, read):
    network = Fed(layer, read).eval()
    groups = find_groups(network, SHAPE)
    assert [group.name for group in groups.cut] == ["free"]
    assert "first" in groups.kept
    assert slim(network, groups, {"free": np.arange(5)}, SHAPE).free.out_channels == 5


class Helped(nn.Module):
    """An auxiliary classifier in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1)
        self.helper, self.last = nn.Linear(8, 2), nn.Linear(6, 2)

    def forward(self, x):
        y = self.norm(self.first(x))
        scores = self.last(self.second(y).mean((2, 3)))
        return (scores, self.helper(y.mean((2, 3)))) if self.training else scores


def test_what_a_branch_of_the_training_reads_is_kept():
    network = Helped()
    groups = find_groups(network, (1, 3, 1, 1))
    assert [group.name for group in groups.cut] == ["second"]
    assert groups.kept["first"].startswith(BRANCH)
    small = slim(network, groups, {"second": np.arange(2)}, (1, 3, 1, 1))
    assert [tuple(scores.shape) for scores in small.train()(torch.rand(SHAPE))] == [(2, 2), (2, 2)]
    assert not network.norm.num_batches_tracked


@dataclass
class Scores:
    scores: Tensor


class Named(dict):
    pass


@pytest.mark.parametrize(
    "wrap", [Scores, lambda scores: Named(scores=scores), lambda scores: [(scores, Scores(scores))]]
)
def test_outputs_that_hide_their_tensors_are_refused(wrap):
    network = Between(lambda y: y)
    network.register_forward_hook(lambda module, inputs, output: wrap(output))
    with pytest.raises(InputError, match=r"the network's output: expected a tensor, .* got (Scores|Named)"):
        find_groups(network, SHAPE)


def test_outputs_in_tuples_and_dictionaries_are_kept():
    network = Between(lambda y: y)
    network.register_forward_hook(lambda module, inputs, output: {"scores": (output, None), "classes": 2})
    assert find_groups(network, SHAPE).kept["last"] == "output of the network"
