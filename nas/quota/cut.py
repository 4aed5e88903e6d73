"""A network, its groups and the channels to keep -> a smaller network of plain layers, with no trace of the quota."""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.quota.groups import Group, Groups, refuse_compiled
from nas.quota.labels import Ints

Keep = Mapping[str, Ints]  # by the name of a group: the channels that stay, in rising order


def cut(network: nn.Module, groups: Groups, keep: Keep) -> nn.Module:
    """A copy of `network` that has the channels `keep` only; groups that are not named stay whole.

    Frozen parameters stay frozen, shared ones shared, modules in training or evaluation as they are. Raises InputError for a group
    that would be empty, that is unknown, or for a compiled network.
    """
    refuse_compiled(network)
    chosen = _checked(groups, keep)
    small = copy.deepcopy(network)
    places = _kept_places(small, chosen)
    replaced: dict[int, Tensor] = {}
    for module in small.modules():
        before = {name: tuple(tensor.shape) for name, tensor in _own(module).items()}
        for name, tensor in _own(module).items():
            if id(tensor) in places and id(tensor) not in replaced:
                replaced[id(tensor)] = _selected(tensor, places[id(tensor)])
            if id(tensor) in replaced:
                _put(module, name, replaced[id(tensor)])
        _describe(module, before)
    return small


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


def _kept_places(network: nn.Module, chosen: list[tuple[Group, Ints]]) -> dict[int, dict[int, Tensor]]:
    """By tensor and axis: the indices that stay, in rising order."""
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    gone: dict[int, dict[int, list[Ints]]] = {}
    sizes: dict[tuple[int, int], int] = {}
    for group, kept in chosen:
        lost = np.setdiff1d(np.arange(group.size), kept)
        for part in group.parts:
            tensor = tensors[part.name]
            sizes[id(tensor), part.axis] = tensor.shape[part.axis]
            gone.setdefault(id(tensor), {}).setdefault(part.axis, []).append(part.places[lost].ravel())
    return {
        tensor: {
            axis: torch.from_numpy(np.setdiff1d(np.arange(sizes[tensor, axis]), np.concatenate(lost)))
            for axis, lost in axes.items()
        }
        for tensor, axes in gone.items()
    }


def _selected(tensor: Tensor, places: dict[int, Tensor]) -> Tensor:
    small = tensor.detach()
    for axis, indices in places.items():
        small = small.index_select(axis, indices.to(tensor.device))
    small = small.clone()
    return nn.Parameter(small, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else small


def _own(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters and buffers, not those of its parts."""
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return dict(tensors)


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    (module._parameters if name in module._parameters else module._buffers)[name] = tensor  # type: ignore[assignment]


def _describe(module: nn.Module, before: dict[str, tuple[int, ...]]) -> None:
    """Make what a layer says of itself true again."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or before.get("weight") == tuple(weight.shape):
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and isinstance(module.running_mean, Tensor):
            module.num_features = len(module.running_mean)
        return
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if module.groups > 1 and before["weight"][1] == 1:
            module.groups = module.groups * weight.shape[0] // before["weight"][0]
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = len(weight)
