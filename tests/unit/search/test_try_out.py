"""Trying out: the network stays as it is, and the errors are those of a network that was cut and trained for so many steps."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.load import Data
from nas.quota.channels.find import find_groups
from nas.search.pruning.try_out import TryOut
from nas.train.config import TrainConfig
from nas.train.recipe.metrics import mistaken
from tests.pictures import bright_or_dark, two_convolutions

CONFIG = TrainConfig(epochs=4, batch_size=16, learning_rate=0.02, precision="float32")


@pytest.fixture
def data() -> Data:
    return bright_or_dark()


@pytest.fixture
def network() -> nn.Module:
    return two_convolutions()


def test_it_learns_and_leaves_the_network_alone(network: nn.Module, data: Data) -> None:
    before = copy.deepcopy(network.state_dict())
    groups = find_groups(network, (1, 1, 8, 8))
    try_out = TryOut(network, groups, data, CONFIG)
    keep = {group.name: np.arange(4) for group in groups.cut}
    short, long = try_out(keep, 1 / 16), try_out(keep, 1.0)
    assert long.shape == (48,)
    assert long.mean() < 0.1
    assert short.mean() > 0.3
    assert (try_out(keep, 1.0) == long).all()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_wrong_are_the_pictures_whose_label_is_not_the_likeliest(network: nn.Module, data: Data) -> None:
    network.eval()
    with torch.inference_mode():
        chances = network(data.validation.images.float() / 255).tolist()
    by_hand = [
        row.index(max(row)) != label for row, label in zip(chances, data.validation.labels.tolist(), strict=True)
    ]
    assert mistaken(network, data.validation).tolist() == by_hand
