"""The weights of a training, step by step -> their exponential moving average, a network that is usually better.

    average += (1 - d) * (weight - average),   d = min(decay, (1 + n) / (10 + n)) at the n-th update, n = 0, 1 ...

The warm-up of d lets the average forget its random beginning. Statistics of batch norms and other buffers are copied:
they are averages already.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """network: the average of `model`, for evaluation; a part of the checkpoint."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay, self._updates = decay, 0
        # By name: deep copies keep ties, and a tied weight is named once.
        sources, averages = dict(model.named_parameters()), dict(self.network.named_parameters())
        self._weights: list[Tensor] = list(sources.values())
        self._averages: list[Tensor] = [averages[name] for name in sources]
        self._buffers = list(model.buffers())
        self._copies = list(self.network.buffers())

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimiser; one kernel for all weights, and nobody waits for it."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - decay)
        if self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)

    def tensors(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def state(self) -> dict[str, Any]:
        return {"updates": self._updates}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.network.load_state_dict(tensors)
        self._updates = int(state["updates"])
        if self._updates < 0:
            raise ValueError(f"updates: expected 0 or more, got {self._updates}")
