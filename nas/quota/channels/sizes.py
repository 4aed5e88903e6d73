"""Channels by group -> how many numbers each parameter of such a network has, without making it."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

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
