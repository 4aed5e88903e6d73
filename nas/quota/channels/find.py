"""A network -> its groups of channels that can be cut, found by running it, and once more with a channel of each group gone.

All that ties layers together (residual sums, depthwise and grouped convolutions, concatenation, channel shuffle,
squeeze-and-excitation, flattening) is followed by `provenance`. What no run shows is what the network's code counts: a size
that it works out, a number by which it divides. So the smaller network is run too: where it does not run, or writes other numbers, the
groups whose channels are counted stay whole. So do those that a branch of the training alone reads, such as an auxiliary classifier.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from nas.core.errors import InputError
from nas.quota.channels.cut import cut
from nas.quota.channels.groups import Group, Groups, Part, evaluating, refuse_compiled
from nas.quota.channels.labels import Ints
from nas.quota.channels.provenance import Provenance, Written

COUNTED = "its number of channels is counted by the network's code"
BRANCH = "a branch that runs in training alone reads it"
_NO_MEETING = (RuntimeError, ValueError, IndexError, AssertionError)  # of torch, where shapes do not meet
_NO_TENSORS = (type(None), bool, int, float, str)  # that a network may give beside its tensors


def find_groups(network: nn.Module, input_shape: Sequence[int]) -> Groups:
    """Run `network` on zeros of `input_shape` (batch, channels, height, width) and group its channels.

    The network is left as it was. Raises InputError for a compiled network, whose layers cannot be seen, and for outputs that are
    neither tensors nor tuples, lists or dictionaries of them, and for a shape that the network cannot run on.
    """
    refuse_compiled(network)
    try:
        seen = _watched(network, input_shape)
    except _NO_MEETING as error:
        raise InputError(
            "quota", "input_shape", "what the network can run on", tuple(input_shape), str(error)
        ) from error
    parts: dict[int, list[tuple[str, int, Ints]]] = {}
    kept: dict[str, str] = {}
    for name, axes in seen.axes.items():
        for axis, atoms in axes.items():
            classes = seen.atoms.classes(atoms)
            for one in np.unique(classes).tolist():
                reason = seen.atoms.reason(one)
                if reason is None:
                    parts.setdefault(one, []).append((name, axis, np.flatnonzero(classes == one)))
                elif axis == 0 and name.endswith("weight"):
                    kept.setdefault(_layer(name), reason)
    groups = Groups(_grouped(parts), kept)
    smaller = [group for group in groups.cut if group.size > 1]  # the others never lose a channel
    idle = {name for name, _ in network.named_parameters()} - seen.axes.keys()
    check = _Check(
        network, groups, tuple(input_shape), seen.written, bool(idle) and _trains(network, input_shape) is None
    )
    if check.objection(smaller) is None:
        return groups
    objections = {group.name: check.objection([group]) for group in smaller}
    counted = {name: reason for name, reason in objections.items() if reason is not None}
    return Groups(tuple(group for group in groups.cut if group.name not in counted), kept | counted)


def _watched(network: nn.Module, input_shape: Sequence[int]) -> Provenance:
    """A run of `network`, its outputs kept."""
    weight = next(iter(network.parameters()), torch.empty(0))
    # Where channels are last, PyTorch's core moves memory about by strides, which say nothing of channels.
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    with evaluating(network), torch.no_grad(), Provenance(network) as seen:
        output = network(torch.zeros(tuple(input_shape), device=weight.device, dtype=weight.dtype))
        for item in tree_flatten(output)[0]:
            if isinstance(item, torch.Tensor):
                seen.keep(item, "output of the network")
            elif not isinstance(item, _NO_TENSORS):
                expected = "a tensor, or a tuple, list or dictionary of tensors"
                raise InputError("quota", "the network's output", expected, type(item).__name__)
    return seen


class _Check(NamedTuple):
    """written: by the whole network, see `Provenance`. trains: whether the smaller one must run in training, too, since there it does
    more than in evaluation.
    """

    network: nn.Module
    groups: Groups
    input_shape: tuple[int, ...]
    written: Mapping[int, Sequence[Written]]
    trains: bool

    def objection(self, smaller: Sequence[Group]) -> str | None:
        """Why no channel of the groups `smaller` can go; None where one can."""
        # Each loses another number, for two may count on having as many.
        left = {group.name: max(1, group.size - 1 - place) for place, group in enumerate(smaller)}
        small = cut(self.network, self.groups, {name: np.arange(count) for name, count in left.items()})
        try:
            others = _watched(small, self.input_shape).written
        except _NO_MEETING as error:
            return f"{COUNTED}: {error}"
        if self.trains and (wrong := _trains(small, self.input_shape)) is not None:
            return f"{BRANCH}: {wrong}"
        calls = self.written.keys() & others.keys()
        pairs = (pair for call in calls for pair in zip(self.written[call], others[call], strict=False))
        return (
            COUNTED if any(one.numbers[at] != other.numbers[at] for one, other in pairs for at in one.fixed) else None
        )


def _trains(network: nn.Module, input_shape: Sequence[int]) -> Exception | None:
    """What goes wrong where `network` is run in training, on two images for the batch norms; None where nothing does."""
    weight = next(iter(network.parameters()), torch.empty(0))
    network = copy.deepcopy(network).train()  # whose statistics change
    try:
        with torch.no_grad():
            network(torch.zeros((2, *input_shape[1:]), device=weight.device, dtype=weight.dtype))
    except _NO_MEETING as error:
        return error
    return None


def _grouped(parts: dict[int, list[tuple[str, int, Ints]]]) -> tuple[Group, ...]:
    """Classes of atoms with the same parts, each of the same number of indices, are the channels of one group."""
    alike: dict[tuple[tuple[str, int, int], ...], list[list[tuple[str, int, Ints]]]] = {}
    for members in parts.values():
        alike.setdefault(tuple((name, axis, len(places)) for name, axis, places in members), []).append(members)
    groups, begun = [], Counter[str]()
    for shape, channels in alike.items():
        together = tuple(
            Part(name, axis, np.stack([members[index][2] for members in channels]))
            for index, (name, axis, _) in enumerate(shape)
        )
        layer = _layer(next((name for name, axis, _ in shape if axis == 0), shape[0][0]))
        begun[layer] += 1
        name = layer if begun[layer] == 1 else f"{layer}@{begun[layer]}"
        groups.append(Group(name, len(channels), together))
    return tuple(groups)


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name
