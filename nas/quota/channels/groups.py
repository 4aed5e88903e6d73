"""Groups: the channels of a network that can be cut, as `find` finds them.

A group's channels can be exchanged for one another: each consists of the same parts, such as one row of a convolution,
one entry of its batch norm and one column of the next layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from nas.core.errors import InputError
from nas.quota.channels.labels import Ints


class Part(NamedTuple):
    """What the channels of a group are in one parameter or buffer: `places[c]` are the indices of channel c along `axis`."""

    name: str
    axis: int
    places: Ints


class Group(NamedTuple):
    """name: of the first layer whose outputs these channels are, with @2, @3 where they are several groups; size: how many
    channels; parts: all that a channel consists of.
    """

    name: str
    size: int
    parts: tuple[Part, ...]


class Groups(NamedTuple):
    """cut: what may be cut; kept: by layer, why its outputs (or some of them) must stay as they are."""

    cut: tuple[Group, ...]
    kept: dict[str, str]


def sizes_to_cut(groups: Groups) -> dict[str, int]:
    """Channels by group; InputError where there is no group, with the reasons."""
    if not groups.cut:
        raise InputError("quota", "network", "channels that can be cut", "none", "; ".join(set(groups.kept.values())))
    return {group.name: group.size for group in groups.cut}


def refuse_compiled(network: nn.Module) -> None:
    """Raise InputError where the network or a part of it cannot be cut: compiled, scripted, without weights yet, or not to be copied."""
    for name, module in network.named_modules():
        place = name or "the network"
        if isinstance(module, torch._dynamo.eval_frame.OptimizedModule):
            raise InputError("quota", place, "a plain nn.Module", "one that torch.compile made", "cut it, then compile")
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError("quota", place, "a plain nn.Module", "one of TorchScript", "cut it, then script it")
        if any(isinstance(weight, nn.UninitializedParameter) for weight in module._parameters.values()):
            raise InputError("quota", place, "a layer with weights", "a lazy one", "run the network once before")
        if any(isinstance(value, torch.Tensor) and value.grad_fn is not None for value in vars(module).values()):
            got = "one that computed it, with gradients, as weight norms and masks by hooks do"
            hint = "make the weight permanent, or run the network once under torch.no_grad"
            raise InputError("quota", place, "a layer that holds its weight", got, hint)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode inside the block; every module is as it was afterwards."""
    training = {name: module.training for name, module in network.named_modules()}
    network.eval()
    try:
        yield
    finally:
        for name, module in network.named_modules():
            module.training = training[name]
