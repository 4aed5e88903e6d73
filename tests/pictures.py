"""Bright and dark pictures, and a small network that tells them apart after a few steps."""

import torch
from torch import nn

from nas.data.load import Data
from nas.data.source import Split


def bright_or_dark() -> Data:
    """64, 48 and 8 of them, 8x8, in one channel."""
    return Data(_split(64, 0), _split(48, 1), _split(8, 2), classes=2, channels=1, size_px=8, name="bright")


def _split(count: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    noise = torch.randint(0, 120, (count, 1, 8, 8), generator=generator)
    return Split((noise + 100 * labels[:, None, None, None]).to(torch.uint8), labels)


def two_convolutions() -> nn.Module:
    """Two groups of eight channels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 16, 2),
        )  # fmt: skip
