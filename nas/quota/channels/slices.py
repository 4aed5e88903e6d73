"""The channels to keep -> which rows and columns stay of every parameter and buffer; taking them out, and putting them back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.quota.channels.groups import Group, Groups
from nas.quota.channels.labels import Ints
from nas.quota.channels.runs import Runs, order_of, runs_of

Keep = Mapping[str, Ints]  # by the name of a group: the channels that stay


class Places:
    """What stays of one tensor. kept: by axis the indices, in rising order; axes that are not named stay whole."""

    def __init__(self, kept: Mapping[int, Ints], device: torch.device) -> None:
        self.kept, self._device = kept, device
        self._runs: dict[tuple[int, ...], Runs] = {}

    def runs(self, tensor: Tensor) -> Runs:
        """Of `tensor`, whose axes lie in memory as they like."""
        order = order_of(tensor)
        if order not in self._runs:
            self._runs[order] = runs_of(order, tuple(tensor.shape), self.kept, self._device)
        return self._runs[order]


def kept_places(groups: Groups, keep: Keep, tensors: Mapping[str, Tensor]) -> dict[str, Places]:
    """By name, of each tensor that loses something; groups that `keep` does not name stay whole.

    Raises InputError for a group that would be empty, that is unknown, or has no such channel.
    """
    gone: dict[tuple[str, int], list[Ints]] = {}
    for group, chosen in _checked(groups, keep):
        lost = np.setdiff1d(np.arange(group.size), chosen, assume_unique=True)
        for part in group.parts:
            gone.setdefault((part.name, part.axis), []).append(part.places[lost].ravel())
    kept: dict[str, dict[int, Ints]] = {}
    for (name, axis), lost_indices in gone.items():
        stays = np.ones(tensors[name].shape[axis], bool)
        stays[np.concatenate(lost_indices)] = False
        kept.setdefault(name, {})[axis] = np.flatnonzero(stays)
    return {name: Places(axes, tensors[name].device) for name, axes in kept.items()}


def kept_of(places: Mapping[str, Places], name: str, axis: int) -> Ints | None:
    """What stays of that axis of the tensor `name`; None: all."""
    return places[name].kept.get(axis) if name in places else None


def take(tensor: Tensor, places: Places | None) -> Tensor:
    """A copy of what stays of `tensor`, detached; all of it without places."""
    return tensor.detach().clone() if places is None else places.runs(tensor).take(tensor.detach())


def put_back(tensor: Tensor, taken: Tensor, places: Places | None) -> None:
    """Write what `take` took into its places; the rest of `tensor` is left as it is."""
    with torch.no_grad():
        if places is None:
            tensor.copy_(taken)
        else:
            places.runs(tensor).put_back(tensor, taken)


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, shared ones once."""
    return dict([*network.named_parameters(), *network.named_buffers()])


def _checked(groups: Groups, keep: Keep) -> list[tuple[Group, Ints]]:
    known = {group.name: group for group in groups.cut}
    chosen = []
    for name, channels in keep.items():
        if name not in known:
            why = groups.kept.get(name)
            hint = f"it must stay whole: {why}" if why else f"known: {', '.join(known)}"
            raise InputError("quota", name, "a group of channels that can be cut", "none of this name", hint)
        size = known[name].size
        if np.asarray(channels).dtype == bool:
            raise InputError("quota", name, "the numbers of channels to keep", "a mask", "numpy.flatnonzero gives them")
        kept = np.unique(np.asarray(channels, np.int64))
        if not len(kept):
            hint = "a layer without channels computes nothing; keep one, raise the quota, or leave the group out"
            raise InputError("quota", name, "at least 1 channel to keep", "none", hint)
        if kept[0] < 0 or kept[-1] >= size:
            raise InputError("quota", name, f"channels from 0 to {size - 1}", [int(kept[0]), int(kept[-1])])
        chosen.append((known[name], kept))
    return chosen
