"""Torch's own generators, which a network may draw from (as dropout does), for the length of a training.

Everything else in a training has named streams. Outside the block the generators are as they were.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nas.core.seeding import stream_seed


class RandomPart:
    """The state of the generators of the CPU and of `device`, as a part of the checkpoint."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Inside the block the generators begin at the stream "train" of `seed`."""
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(stream_seed(seed, "train"))
            yield

    def tensors(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        del state
        torch.set_rng_state(tensors["cpu"])
        if "cuda" in tensors and self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda"], self._device)
