"""Atoms spread over a tensor's shape: an int64 tensor whose axes along which nothing changes have stride 0 and cost nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.quota.channels.labels import Ints


def along(atoms: Ints, axis: int, shape: Sequence[int]) -> Tensor:
    """Atoms along one axis, the same along all others."""
    return torch.from_numpy(atoms.copy()).reshape([-1 if at == axis else 1 for at in range(len(shape))]).expand(*shape)


def varying(labels: Tensor) -> list[int]:
    """The axes along which the atoms change."""
    axes = [axis for axis in range(labels.dim()) if labels.shape[axis] > 1 and labels.stride(axis) != 0]
    for axis in set(range(labels.dim())) - set(axes):
        labels = labels.narrow(axis, 0, min(1, labels.shape[axis]))
    return [axis for axis in axes if not bool((labels == labels.narrow(axis, 0, 1)).all())]


def short(labels: Tensor, axes: set[int] | None = None) -> Ints:
    """The atoms without repetition along the axes where nothing changes (or along all but `axes`)."""
    wanted = set(varying(labels)) if axes is None else axes
    for axis in range(labels.dim()):
        if axis not in wanted:
            labels = labels.narrow(axis, 0, min(1, labels.shape[axis]))
    atoms: Ints = labels.contiguous().numpy()
    return atoms


def size_along(tensor: Tensor, axis: int, result: Tensor) -> int:
    """The size of `tensor` along the axis of the result that it is broadcast to."""
    own = axis - (result.dim() - tensor.dim())
    return tensor.shape[own] if own >= 0 else 1
