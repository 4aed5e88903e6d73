"""A network -> groups of channels that can be cut, found by running it once.

A group's channels can be exchanged for one another: each consists of the same parts, such as one row of a convolution,
one entry of its batch norm and one column of the next layer. All that ties layers together (residual sums, depthwise
and grouped convolutions, concatenation, channel shuffle, squeeze-and-excitation, flattening) is followed by `provenance`.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from nas.core.errors import InputError
from nas.quota.channels.labels import Ints
from nas.quota.channels.provenance import Provenance


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


def find_groups(network: nn.Module, input_shape: Sequence[int]) -> Groups:
    """Run `network` once on zeros of `input_shape` (batch, channels, height, width) and group its channels.

    The network is left as it was. Raises InputError for a compiled network, whose layers cannot be seen.
    """
    refuse_compiled(network)
    weight = next(iter(network.parameters()), torch.empty(0))
    # Where channels are last, PyTorch's core moves memory about by strides, which say nothing of channels.
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    with evaluating(network), torch.no_grad(), Provenance(network) as seen:
        output = network(torch.zeros(tuple(input_shape), device=weight.device, dtype=weight.dtype))
        for tensor in tree_flatten(output)[0]:
            if isinstance(tensor, torch.Tensor):
                seen.keep(tensor, "output of the network")
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
    return Groups(_grouped(parts), kept)


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
