"""A network, some pictures -> for each layer that reads a group's channels, how what it reads varies together.

A reader is a dense layer, convolution or linear, one of whose columns (or several, behind a flattening) is the channel.
The covariance says which channels can stand in for which: see `nas.quota.worth.stand_in`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nas.core.units import ceil_div
from nas.quota.channels.groups import Groups
from nas.quota.channels.labels import Ints
from nas.quota.channels.slices import Keep, Places, kept_of

Floats = NDArray[np.float64]

_NOISE = 1e-3  # of a channel's mean square: what is only known to the last bits of bfloat16 is not to be relied on
_MOST_SAMPLES = 32768  # of one batch: places of one map are much alike


class Reader(NamedTuple):
    """layer: its name; columns: of each channel, shape (channels, columns of one channel)."""

    layer: str
    columns: Ints


class Moments(NamedTuple):
    """Of the channels that `reader` reads: mean, shape (channels,), and covariance over pictures and places.

    weights: with which they are read, shape (rows, taps, channels).
    """

    reader: Reader
    mean: Floats
    covariance: Floats
    weights: Floats


def readers_of(network: nn.Module, groups: Groups) -> dict[str, tuple[Reader, ...]]:
    """By group. Grouped convolutions are left out: a column there is read by a part of the rows only."""
    modules = dict(network.named_modules())
    found: dict[str, tuple[Reader, ...]] = {}
    for group in groups.cut:
        parts = [
            Reader(part.name.removesuffix(".weight"), part.places.reshape(group.size, -1))
            for part in group.parts
            if part.axis == 1 and part.name.endswith(".weight")
        ]
        found[group.name] = tuple(reader for reader in parts if _is_dense(modules.get(reader.layer)))
    return found


def moments_of(
    small: nn.Module, readers: Mapping[str, tuple[Reader, ...]], keep: Keep, places: Mapping[str, Places],
    run: Callable[[nn.Module, int], object], batches: int,
) -> dict[str, list[Moments]]:  # fmt: skip
    """By group, in the order of `keep`, which are the channels of the sub-network `small` (all of a group that it does not name).

    places: what that leaves of each tensor. run: lets a network see a batch. Statistics of batch norms stay as they are.
    """
    sums: dict[tuple[str, str], _Sums] = {}
    own = {
        (name, reader.layer): _own_columns(reader, keep.get(name), places)
        for name, several in readers.items()
        for reader in several
    }
    modes = {module: module.training for module in small.modules()}
    small.eval()
    with torch.no_grad(), _watching(small, own, sums):
        for batch in range(batches):
            run(small, batch)
    for module, mode in modes.items():
        module.training = mode
    return {
        name: [
            Moments(reader, *sums[key].moments(), _weights(small, reader, own[key]))
            for reader in several if (key := (name, reader.layer)) in sums
        ]
        for name, several in readers.items()
    }  # fmt: skip


class _Sums:
    """Of samples and of their products."""

    def __init__(self) -> None:
        self.count, self.total, self.products = 0, np.zeros(()), np.zeros(())

    def add(self, samples: Tensor) -> None:
        self.count += len(samples)
        self.total = self.total + samples.sum(0).double().cpu().numpy()
        self.products = self.products + (samples.T @ samples).double().cpu().numpy()

    def moments(self) -> tuple[Floats, Floats]:
        mean = self.total / self.count
        second = self.products / self.count
        return mean, second - np.outer(mean, mean) + _NOISE * np.diag(second.diagonal())


@contextmanager
def _watching(
    network: nn.Module, columns: Mapping[tuple[str, str], Tensor], sums: dict[tuple[str, str], _Sums]
) -> Iterator[None]:
    """Inside the block whatever the readers read is added up."""
    handles: list[RemovableHandle] = []
    for key, own in columns.items():

        def look(module: nn.Module, inputs: tuple[Any, ...], own: Tensor = own, key: tuple[str, str] = key) -> None:
            del module
            read = inputs[0].detach().float()
            read = read.movedim(1, -1) if read.dim() == 4 else read
            samples = read.reshape(-1, read.shape[-1])[:, own.to(read.device)]  # samples, channels, columns
            samples = samples.transpose(1, 2).reshape(-1, own.shape[0])
            sums.setdefault(key, _Sums()).add(samples[:: ceil_div(len(samples), _MOST_SAMPLES) | 1])

        handles.append(network.get_submodule(key[1]).register_forward_pre_hook(look))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _own_columns(reader: Reader, kept: Ints | None, places: Mapping[str, Places]) -> Tensor:
    """The columns of the kept channels, as numbers of the sub-network's layer."""
    columns = reader.columns if kept is None else reader.columns[kept]
    left = kept_of(places, f"{reader.layer}.weight", 1)
    return torch.from_numpy(columns if left is None else np.searchsorted(left, columns))


def _weights(small: nn.Module, reader: Reader, own: Tensor) -> Floats:
    weight = small.get_submodule(reader.layer).weight
    assert isinstance(weight, Tensor)
    columns = weight.detach().reshape(weight.shape[0], weight.shape[1], -1)[:, own.to(weight.device)]
    numbers: Floats = columns.permute(0, 2, 3, 1).reshape(weight.shape[0], -1, len(own)).double().cpu().numpy()
    return numbers


def _is_dense(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
