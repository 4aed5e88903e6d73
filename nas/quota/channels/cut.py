"""A network, its groups and the channels to keep -> a smaller network of plain layers, with no trace of the quota."""

import copy
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from nas.quota.channels.groups import Groups, refuse_compiled
from nas.quota.channels.slices import Keep, kept_places, take, tensors_of


class Slot(NamedTuple):
    """Where a module holds a tensor. name: of the tensor in the whole network, one for all places that share it."""

    module: nn.Module
    attribute: str
    name: str


def cut(network: nn.Module, groups: Groups, keep: Keep) -> nn.Module:
    """A copy of `network` that has the channels `keep` only; groups that are not named stay whole.

    Frozen parameters stay frozen, shared ones shared, modules in training or evaluation as they are. Raises InputError for
    a group that would be empty, that is unknown, or for a compiled network.
    """
    refuse_compiled(network)
    tensors = tensors_of(network)
    places = kept_places(groups, keep, tensors)
    small = copy.deepcopy(network)
    smaller = {name: like(tensors[name], take(tensors[name], kept)) for name, kept in places.items()}
    fill(slots_of(small), shapes_of(small), smaller)
    return small


def like(tensor: Tensor, values: Tensor) -> Tensor:
    """`values` as a parameter where `tensor` is one, frozen if it is."""
    return nn.Parameter(values, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values


def slots_of(network: nn.Module) -> list[Slot]:
    """Every place that holds a tensor."""
    names = {id(tensor): name for name, tensor in tensors_of(network).items()}
    return [
        Slot(module, attribute, names[id(tensor)])
        for module in network.modules()
        for attribute, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    ]


def shapes_of(network: nn.Module) -> dict[nn.Module, tuple[tuple[int, ...], int]]:
    """Of the layers with weights: the weight's shape and the groups, when they are whole."""
    weights = {module: getattr(module, "weight", None) for module in network.modules()}
    return {
        module: (tuple(weight.shape), getattr(module, "groups", 1))
        for module, weight in weights.items()
        if isinstance(weight, Tensor)
    }


def fill(
    slots: list[Slot], whole: Mapping[nn.Module, tuple[tuple[int, ...], int]], tensors: Mapping[str, Tensor]
) -> None:
    """Put the tensors in their places, and make what the layers say of themselves true again. whole: see `shapes_of`."""
    for module, attribute, name in slots:
        if name in tensors:
            held = module._parameters if attribute in module._parameters else module._buffers
            held[attribute] = tensors[name]  # type: ignore[assignment]
    for module in dict.fromkeys(slot.module for slot in slots):
        if isinstance(module, nn.modules.batchnorm._NormBase):
            told = module.weight if module.running_mean is None else module.running_mean  # one of its slots
            module.num_features = len(told)
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            (rows, columns, *_), groups = whole[module]
            depthwise = groups > 1 and columns == 1
            module.groups = groups * module.weight.shape[0] // rows if depthwise else groups
            module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.PReLU):
            module.num_parameters = len(module.weight)
