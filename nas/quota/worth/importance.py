"""A network after a step -> what each channel earns: which channels of a group come first. `IMPORTANCES` by name.

    taylor             what the loss changes, to first order, when a channel's outputs are zero (Molchanov et al. 2019)
    magnitude          the squares of all that makes it: its kernels, its scale and its shift
    batch_norm_scale   how much a channel is scaled by the batch norm behind it (Network Slimming, Liu et al. 2017)

A channel is judged by the steps in which it was drawn, and keeps its worth while it is not.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.registry import Registry
from nas.quota.channels.groups import Group, Groups
from nas.quota.channels.slices import Keep, Places, kept_of

Floats = NDArray[np.float64]


class Importance(Protocol):
    """What is known of every channel. wants_gradients: whether that depends on them, and so on pictures."""

    wants_gradients: bool

    def see(self, small: nn.Module, keep: Keep, places: Mapping[str, Places]) -> None:
        """Learn from a sub-network with the channels `keep` (all of a group that is not named), gradients in place.

        places: what that leaves of each tensor, as `kept_places` says.
        """

    def values(self) -> dict[str, Floats]:
        """By group, of each channel, 0 or more; NaN where no step has seen it."""

    def state(self) -> dict[str, Any]:
        """Plain numbers for a checkpoint."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""


def judge(
    importance: Importance, network: nn.Module, loss_of: Callable[[nn.Module, int], Tensor], batches: int
) -> None:
    """Let `importance` see the whole of `network` on each of the batches; its gradients are those of the last one.

    It is not run for an importance that asks for no gradients.
    """
    if not importance.wants_gradients:
        importance.see(network, {}, {})
        return
    for batch in range(batches):
        network.zero_grad(set_to_none=True)
        torch.autograd.backward(loss_of(network, batch))
        importance.see(network, {}, {})


IMPORTANCES: Registry[Callable[[Groups, float], Importance]] = Registry("importance")


class RunningImportance:
    """A running mean for every channel. memory: the weight of the past at each step that saw the channel, below 1.

    rows_of: of each parameter that says something, one number for each row; square: of what a channel's rows sum to.
    """

    def __init__(
        self, groups: Groups, memory: float, rows_of: Callable[[nn.Module], dict[str, Floats]], wants_gradients: bool = False
    ) -> None:  # fmt: skip
        if not 0 <= memory < 1:
            raise InputError("quota", "importance.memory", "0 <= memory < 1", memory)
        self._groups, self._memory, self._rows_of, self.wants_gradients = groups, memory, rows_of, wants_gradients
        self._sums = {group.name: np.zeros(group.size) for group in groups.cut}
        self._weights = {group.name: np.zeros(group.size) for group in groups.cut}

    def see(self, small: nn.Module, keep: Keep, places: Mapping[str, Places]) -> None:
        rows = self._rows_of(small)
        for group in self._groups.cut:
            kept = np.unique(keep.get(group.name, np.arange(group.size)))
            worth = _summed(group, kept, rows, places)
            past, present = self._memory, 1 - self._memory
            self._sums[group.name][kept] = past * self._sums[group.name][kept] + present * worth**2
            self._weights[group.name][kept] = past * self._weights[group.name][kept] + present

    def values(self) -> dict[str, Floats]:
        with np.errstate(invalid="ignore"):
            return {name: total / self._weights[name] for name, total in self._sums.items()}

    def state(self) -> dict[str, Any]:
        return {
            name: {"sums": total.tolist(), "weights": self._weights[name].tolist()}
            for name, total in self._sums.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        if set(state) != set(self._sums):
            raise InputError("quota checkpoint", "importance", f"groups {sorted(self._sums)}", sorted(state))
        for name, entry in state.items():
            self._sums[name] = np.array(entry["sums"], float)
            self._weights[name] = np.array(entry["weights"], float)


@IMPORTANCES.register("taylor")
def taylor(groups: Groups, memory: float = 0.95) -> Importance:
    """The square of the sum over a channel's parameters of weight times gradient, averaged over steps.

    Of a convolution before a batch norm this sum is zero, for its scale does not matter, and the batch norm's own entries
    tell; so all rows are summed.
    """
    return RunningImportance(groups, memory, _products, wants_gradients=True)


@IMPORTANCES.register("batch_norm_scale")
def batch_norm_scale(groups: Groups, memory: float = 0.95) -> Importance:
    """The square of the scale. InputError for a group with none."""
    for group in groups.cut:
        if not any(part.name.endswith("weight") and _is_alone(part.name, group) for part in group.parts):
            raise InputError("quota", group.name, "a batch norm behind it", "none", "importance: taylor asks for none")
    return RunningImportance(groups, memory, _scales)


@IMPORTANCES.register("magnitude")
def magnitude(groups: Groups, memory: float = 0.95) -> Importance:
    """Weight decay takes from kernels that the loss does not hold up, so that size tells use; it needs no gradients."""
    return RunningImportance(groups, memory, _squares)


def _is_alone(name: str, group: Group) -> bool:
    """Whether a parameter has no columns: the scales of norms, unlike kernels, are read by nobody else."""
    layer = name.rpartition(".")[0]
    return any(part.name == f"{layer}.running_var" for part in group.parts)


def _summed(group: Group, kept: NDArray[np.int64], rows: Mapping[str, Floats], places: Mapping[str, Places]) -> Floats:
    worth = np.zeros(len(kept))
    for part in group.parts:
        if part.axis == 0 and part.name in rows:
            own = part.places[kept]
            stays = kept_of(places, part.name, 0)
            found = own if stays is None else np.searchsorted(stays, own)
            worth += rows[part.name][found].sum(axis=1)
    return worth


def _products(network: nn.Module) -> dict[str, Floats]:
    """Of each parameter that has a gradient: the sums of weight times gradient over its rows."""
    with torch.no_grad():
        return {
            name: _numbers((weight * weight.grad).reshape(len(weight), -1).sum(dim=1))
            for name, weight in network.named_parameters()
            if weight.grad is not None
        }


def _squares(network: nn.Module) -> dict[str, Floats]:
    """The sums of squares of each parameter's rows."""
    return {
        name: _numbers(weight.detach().square().reshape(len(weight), -1).sum(dim=1))
        for name, weight in network.named_parameters()
    }


def _scales(network: nn.Module) -> dict[str, Floats]:
    """The sizes of the scales of batch norms."""
    return {
        f"{name}.weight": _numbers(module.weight.abs())
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine
    }


def _numbers(tensor: Tensor) -> Floats:
    numbers: Floats = tensor.detach().double().cpu().numpy()
    return numbers
