"""Losses of drawn sub-networks on the same pictures -> what one more channel of each group is worth.

Draws come in antithetic pairs: X, and 2 p - X, its mirror image in the mean widths p. Their losses on the same pictures
differ by 2 b (X - p) and terms of third order, so pairs see the slope b alone: neither how hard the pictures are, nor the
curvature. Half of the pairs are larger than the quota, so that the slope along all groups together is seen as well.

b is found by least squares, shrunk in the metric of the draws' known covariance k (M - k) / (M - 1) (diag(q) - q q'): the
classical estimate, with the known covariance in place of the pairs' own, has the noise of the pairs' own besides.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.quota.channels.slices import Keep
from nas.quota.channels.subnet import Subnet

Floats = NDArray[np.float64]
LossOf = Callable[[nn.Module, int], Tensor]  # a network in training mode and the number of a batch -> the mean loss

_SHRINK = 1e-3  # of the covariance, beside that of the pairs


def losses_of(subnet: Subnet, keeps: Sequence[Keep], loss_of: LossOf, batches: int) -> Floats:
    """The loss of each sub-network, on the same `batches`. The whole network stays as it is, its statistics too."""
    found = []
    with torch.no_grad():
        for keep in keeps:
            small, _ = subnet.take(keep)
            found.append(
                float(torch.stack([loss_of(small, batch).detach().float() for batch in range(batches)]).mean())
            )
            subnet.drop()
    return np.array(found)


class Slopes:
    """A running regression. memory: the weight of what was known before, at each new look."""

    def __init__(self, groups: int, memory: float = 0.5) -> None:
        self._memory = memory
        self._products, self._sums = np.zeros((groups, groups)), np.zeros(groups)
        self._known, self._squares, self._pairs = np.zeros((groups, groups)), 0.0, 0.0

    def see(self, differences: Floats, losses: Floats, covariance: Floats) -> None:
        """differences: X - X' of the pairs, shape (pairs, groups); losses: l - l' of them; covariance: of one draw."""
        past = self._memory
        self._products = past * self._products + differences.T @ differences
        self._sums = past * self._sums + differences.T @ losses
        self._known = past * self._known + 4 * len(losses) * covariance
        self._squares = past * self._squares + float(losses @ losses)
        self._pairs = past * self._pairs + len(losses)

    def earning(self) -> tuple[Floats, Floats]:
        """By group, what the loss falls with one more channel, and the standard error of that."""
        groups = len(self._sums)
        ridge = _SHRINK * self._known + 1e-6 * max(np.trace(self._products) / groups, 1e-12) * np.eye(groups)
        inverse = np.linalg.pinv(self._products + ridge)
        slopes = inverse @ self._sums
        unexplained = max(0.0, self._squares - float(slopes @ self._sums))
        freedom = max(1.0, self._pairs - groups)
        errors = np.sqrt(np.maximum(0.0, np.diag(inverse)) * unexplained / freedom)
        return -slopes, errors

    def state(self) -> dict[str, Any]:
        """Plain numbers for a checkpoint."""
        return {
            "products": self._products.tolist(), "sums": self._sums.tolist(), "known": self._known.tolist(),
            "squares": self._squares, "pairs": self._pairs,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._products, self._sums = np.array(state["products"]), np.array(state["sums"])
        self._known, self._squares, self._pairs = np.array(state["known"]), state["squares"], state["pairs"]
