"""Gradients of drawn sub-networks -> what each channel of the whole network earns.

First-order Taylor (Molchanov et al. 2019): setting a channel's outputs to zero changes the loss by about the sum over its
parameters of weight times gradient; the square of this, averaged over steps, is its importance. Of a convolution before a
batch norm this sum is zero, for its scale does not matter, and the batch norm's own entries tell; so all rows are summed.
A channel is judged by the steps in which it was drawn, and keeps its worth while it is not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nas.core.errors import InputError
from nas.quota.groups import Groups
from nas.quota.slices import Keep, Places

Floats = NDArray[np.float64]


class TaylorImportance:
    """A running mean for every channel. memory: the weight of the past at each step that saw the channel, below 1."""

    def __init__(self, groups: Groups, memory: float = 0.95) -> None:
        if not 0 <= memory < 1:
            raise InputError("quota", "importance.memory", "0 <= memory < 1", memory)
        self._groups, self._memory = groups, memory
        self._sums = {group.name: np.zeros(group.size) for group in groups.cut}
        self._weights = {group.name: np.zeros(group.size) for group in groups.cut}

    def see(self, small: nn.Module, keep: Keep, places: Mapping[str, Places]) -> None:
        """Learn from the gradients of a sub-network with the channels `keep` (all of a group that is not named).

        places: what that leaves of each tensor, as `kept_places` says.
        """
        products = _row_sums(small)
        for group in self._groups.cut:
            kept = np.unique(keep.get(group.name, np.arange(group.size)))
            worth = np.zeros(len(kept))
            for part in group.parts:
                if part.axis == 0 and part.name in products:
                    rows = part.places[kept]
                    stays = places.get(part.name, {}).get(0)
                    found = rows if stays is None else np.searchsorted(stays.cpu().numpy(), rows)
                    worth += products[part.name][found].sum(axis=1)
            past, present = self._memory, 1 - self._memory
            self._sums[group.name][kept] = past * self._sums[group.name][kept] + present * worth**2
            self._weights[group.name][kept] = past * self._weights[group.name][kept] + present

    def values(self) -> dict[str, Floats]:
        """By group, of each channel; NaN where no step has seen it."""
        with np.errstate(invalid="ignore"):
            return {name: total / self._weights[name] for name, total in self._sums.items()}

    def state(self) -> dict[str, Any]:
        """Plain numbers for a checkpoint."""
        return {
            name: {"sums": total.tolist(), "weights": self._weights[name].tolist()}
            for name, total in self._sums.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        if set(state) != set(self._sums):
            raise InputError("quota checkpoint", "importance", f"groups {sorted(self._sums)}", sorted(state))
        for name, entry in state.items():
            self._sums[name] = np.array(entry["sums"], float)
            self._weights[name] = np.array(entry["weights"], float)


def _row_sums(network: nn.Module) -> dict[str, Floats]:
    """Of each parameter that has a gradient: the sums of weight times gradient over its rows."""
    sums = {}
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.grad is not None:
                product = weight * weight.grad
                sums[name] = product.reshape(len(product), -1).sum(dim=1).double().cpu().numpy()
    return sums
