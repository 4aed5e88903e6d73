"""A network and the channels to keep -> an ordinary smaller network, and a description from which a fresh one is built.

The description says how many channels each group has left, not which: that the weights know. `shrunk` cuts a fresh network to
these numbers, and then has the tensors, name by name and shape by shape, of the one that was slimmed.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from nas.core.errors import InputError
from nas.quota.channels.cut import cut
from nas.quota.channels.find import find_groups
from nas.quota.channels.groups import Groups, evaluating
from nas.quota.channels.slices import Keep

SLIM_KIND, SLIM_VERSION = "slim_network", 1


class SlimNetwork(msgspec.Struct, frozen=True):
    """arch: of the whole network, plain data; channels: that are left, by group."""

    arch: dict[str, Any]
    channels: dict[str, int]


def slim(network: nn.Module, groups: Groups, keep: Keep, input_shape: Sequence[int]) -> nn.Module:
    """A copy of `network` with the channels `keep` alone: plain layers, its training and frozen states, shared parts shared.

    It is run once: InputError where its code counts on channels that are gone, or for what `cut` refuses.
    """
    small = cut(network, groups, keep)
    wanted, got = _shapes(network, input_shape), _shapes(small, input_shape)
    if wanted != got:
        raise InputError(
            "quota", "the slim network", f"outputs of shapes {wanted}", got, "keep what its code counts on"
        )
    return small


def channels_of(keep: Keep) -> dict[str, int]:
    """How many channels of each group are kept."""
    return {name: len(np.unique(channels)) for name, channels in keep.items()}


def shrunk(network: nn.Module, input_shape: Sequence[int], channels: Mapping[str, int]) -> nn.Module:
    """`network`, fresh from its description, with so many channels of each group: the first ones, for all are alike.

    InputError for a group that it does not have, or that has fewer.
    """
    return first_channels(network, find_groups(network, input_shape), channels)


def first_channels(network: nn.Module, groups: Groups, channels: Mapping[str, int]) -> nn.Module:
    """As `shrunk`, where the groups are known; on the meta device too, for those who ask for shapes or prices only."""
    return cut(network, groups, {name: np.arange(count) for name, count in channels.items()})


def _shapes(network: nn.Module, input_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Of the outputs; in evaluation mode, so that statistics stay as they are."""
    weight = next(iter(network.parameters()), torch.empty(0))
    probe = network if weight.device.type == "meta" else copy.deepcopy(network)
    with evaluating(probe), torch.no_grad():
        try:
            output = probe(torch.zeros(tuple(input_shape), device=weight.device, dtype=weight.dtype))
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:  # of torch, where shapes do not meet
            hint = "its code counts on channels that are gone; keep this layer whole"
            raise InputError("quota", "the slim network", "a network that runs", error, hint) from error
    return [tuple(tensor.shape) for tensor in tree_flatten(output)[0] if isinstance(tensor, Tensor)]
