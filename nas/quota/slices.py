"""The channels to keep -> which rows and columns stay of every parameter and buffer; taking them out, and putting them back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.quota.groups import Group, Groups
from nas.quota.labels import Ints

Keep = Mapping[str, Ints]  # by the name of a group: the channels that stay
Places = dict[int, Tensor]  # of one tensor, by axis: the indices that stay, in rising order


def kept_places(groups: Groups, keep: Keep, tensors: Mapping[str, Tensor]) -> dict[str, Places]:
    """By name, of each tensor that loses something; groups that `keep` does not name stay whole.

    Raises InputError for a group that would be empty, that is unknown, or has no such channel.
    """
    gone: dict[tuple[str, int], list[Ints]] = {}
    for group, kept in _checked(groups, keep):
        lost = np.setdiff1d(np.arange(group.size), kept, assume_unique=True)
        for part in group.parts:
            gone.setdefault((part.name, part.axis), []).append(part.places[lost].ravel())
    places: dict[str, Places] = {}
    for (name, axis), lost_indices in gone.items():
        stays = np.ones(tensors[name].shape[axis], bool)
        stays[np.concatenate(lost_indices)] = False
        places.setdefault(name, {})[axis] = torch.from_numpy(np.flatnonzero(stays)).to(tensors[name].device)
    return places


def take(tensor: Tensor, places: Places) -> Tensor:
    """A copy of what stays of `tensor`, detached."""
    taken = tensor.detach()
    for axis, indices in places.items():
        taken = taken.index_select(axis, indices)
    return taken if places else taken.clone()


def put_back(tensor: Tensor, taken: Tensor, places: Places) -> None:
    """Write what `take` took into its places; the rest of `tensor` is left as it is."""
    with torch.no_grad():
        if set(places) == {0, 1}:
            tensor[places[0][:, None], places[1]] = taken
        elif places:
            ((axis, indices),) = places.items()
            tensor.index_copy_(axis, indices, taken)
        else:
            tensor.copy_(taken)


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
        kept = np.unique(np.asarray(channels, np.int64))
        if not len(kept):
            hint = "a layer without channels computes nothing; keep one, raise the quota, or leave the group out"
            raise InputError("quota", name, "at least 1 channel to keep", "none", hint)
        if kept[0] < 0 or kept[-1] >= size:
            raise InputError("quota", name, f"channels from 0 to {size - 1}", [int(kept[0]), int(kept[-1])])
        chosen.append((known[name], kept))
    return chosen
