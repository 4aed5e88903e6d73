"""Channels by group -> how many numbers each parameter of such a network has, without making it; and back, from its shapes."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from nas.core.errors import InputError
from nas.quota.channels.groups import Groups


def sizes_of(network: nn.Module, groups: Groups) -> Callable[[Mapping[str, int]], dict[str, int]]:
    """What tells the sizes by name; groups that are not named are whole."""
    shapes = {name: list(weight.shape) for name, weight in network.named_parameters()}
    sizes = {group.name: group.size for group in groups.cut}
    lost = {
        group.name: [(part.name, part.axis, part.places.shape[1]) for part in group.parts if part.name in shapes]
        for group in groups.cut
    }

    def of(counts: Mapping[str, int]) -> dict[str, int]:
        left = {name: list(shape) for name, shape in shapes.items()}
        for group, count in counts.items():
            for name, axis, indices in lost[group]:
                left[name][axis] -= indices * (sizes[group] - count)
        return {name: torch.Size(shape).numel() for name, shape in left.items()}

    return of


def counts_in(small: nn.Module, network: nn.Module, groups: Groups) -> dict[str, int]:
    """How many channels of each group `small` has, which was cut out of `network`, by whatever tool.

    InputError where its shapes are those of no cut of the groups: layers may hold channels of more than one.
    """
    own, left = (dict(each.named_parameters()) for each in (network, small))
    names = [group.name for group in groups.cut]
    rows: dict[tuple[str, int], list[float]] = {}  # by axis of a parameter, what it has of one channel of each group
    for index, group in enumerate(groups.cut):
        for part in group.parts:
            if part.name in own:
                rows.setdefault((part.name, part.axis), [0.0] * len(names))[index] += part.places.shape[1]
    indices = np.array(list(rows.values()))
    lost = np.array([own[name].shape[axis] - left[name].shape[axis] for name, axis in rows], float)
    gone = np.linalg.lstsq(indices, lost)[0].round()
    if (indices @ gone != lost).any():
        raise InputError("quota", "the slim network", "one whose shapes tell the channels of each group", "another")
    return {group.name: group.size - int(count) for group, count in zip(groups.cut, gone.tolist(), strict=True)}
