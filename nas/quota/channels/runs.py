"""What stays of a tensor, by axis -> runs of its memory, so that taking out and putting back move as few pieces as can be.

A linear layer that reads a flattened 4x4 map keeps 16 columns or none, so its rows fall into runs of 16 numbers; a kernel that
lies channels last keeps single ones. Either way the places are worked out once, for a weight and its optimiser's state.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.quota.channels.labels import Ints


class Runs(NamedTuple):
    """order: the axes, slowest first. shape: of what stays, in that order. length: numbers of a run. starts: in runs."""

    order: tuple[int, ...]
    shape: tuple[int, ...]
    length: int
    starts: Tensor

    def take(self, tensor: Tensor) -> Tensor:
        """A copy of what stays, in the same order of memory."""
        taken = tensor.permute(self.order).reshape(-1, self.length).index_select(0, self.starts)
        return taken.view(self.shape).permute([self.order.index(axis) for axis in range(tensor.dim())])

    def put_back(self, tensor: Tensor, taken: Tensor) -> None:
        """Write what `take` took into its places."""
        memory = tensor.permute(self.order)
        dense = memory.contiguous()  # itself, but for a tensor that is part of another
        dense.view(-1, self.length).index_copy_(0, self.starts, taken.permute(self.order).reshape(-1, self.length))
        if dense is not memory:
            memory.copy_(dense)


def order_of(tensor: Tensor) -> tuple[int, ...]:
    """Its axes by their strides, largest first."""
    return tuple(sorted(range(tensor.dim()), key=tensor.stride, reverse=True))


def runs_of(order: tuple[int, ...], sizes: tuple[int, ...], kept: Mapping[int, Ints], device: torch.device) -> Runs:
    """order: of memory. sizes: of the whole. kept: by axis the indices that stay, rising; an axis that is not named is whole."""
    places = [kept[axis] if axis in kept else np.arange(sizes[axis]) for axis in order]
    last = max(place for place, axis in enumerate(order) if axis in kept)
    together = _together(places[last], sizes[order[last]])
    length = together * math.prod(sizes[axis] for axis in order[last + 1 :])
    starts, stride = places[last][::together] // together, sizes[order[last]] // together
    for axis, indices in list(zip(order, places, strict=True))[:last][::-1]:
        starts = np.add.outer(indices * stride, starts).ravel()
        stride *= sizes[axis]
    return Runs(order, tuple(len(indices) for indices in places), length, torch.from_numpy(starts).to(device))


def _together(indices: Ints, size: int) -> int:
    """The largest power of two, of those that divide `size`, whose aligned blocks stay whole or not at all."""
    stays = np.zeros(size, bool)
    stays[indices] = True
    together = 1
    while size % (2 * together) == 0:
        blocks = stays.reshape(-1, 2 * together)
        if not (blocks == blocks[:, :1]).all():
            break
        together *= 2
    return together
