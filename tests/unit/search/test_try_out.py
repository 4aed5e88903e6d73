"""Trying out: the network stays as it is, and the errors are those of a network that was cut and trained for so many steps."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.load import Data
from nas.data.source import Split
from nas.quota.channels.groups import find_groups
from nas.search.pruning.try_out import TryOut
from nas.train.config import TrainConfig
from nas.train.recipe.metrics import mistaken

CONFIG = TrainConfig(epochs=4, batch_size=16, learning_rate=0.02, precision="float32")


def split(count: int, seed: int) -> Split:
    """Bright and dark pictures."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    noise = torch.randint(0, 120, (count, 1, 8, 8), generator=generator)
    return Split((noise + 100 * labels[:, None, None, None]).to(torch.uint8), labels)


@pytest.fixture
def data() -> Data:
    return Data(split(64, 0), split(48, 1), split(8, 2), classes=2, channels=1, size_px=8, name="bright")


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 16, 2),
        )  # fmt: skip


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
