"""Torch's own generators, which a network may draw from (as dropout does), for the length of a training.

Everything else in a training has named streams. Outside the block the generators are as they were.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nas.core.seeding import stream_seed


class RandomPart:
    """The state of the generators of the CPU and of `device`, as a part of the checkpoint.

    rank: of several processes, each of which draws from a stream of its own. The checkpoint has the first one's state;
    from it, the others begin a new stream when they resume.
    """

    def __init__(self, device: torch.device, rank: int = 0) -> None:
        self._device, self._rank = device, rank

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Inside the block the generators begin at the stream "train" of `seed`."""
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(stream_seed(seed, "train", *([self._rank] if self._rank else [])))
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
        if self._rank:
            torch.manual_seed(stream_seed(zlib.crc32(tensors["cpu"].numpy().tobytes()), "train", self._rank))
            return
        torch.set_rng_state(tensors["cpu"])
        if "cuda" in tensors and self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda"], self._device)
