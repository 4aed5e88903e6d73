"""The urn as it stands -> who goes next, what that would lose at each width, and what is handed over to those that stay.

A look runs the network of all that is in the urn on the pictures that are put aside. Drawn sub-networks then tell by their
losses, each after a rehearsal of the handing-over, how much what a group loses weighs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nas.quota.channels.groups import Groups
from nas.quota.channels.slices import Keep
from nas.quota.channels.subnet import Subnet
from nas.quota.training.holding import Holding
from nas.quota.worth.curves import best_widths, weights_of
from nas.quota.worth.probe import LossOf, losses_of
from nas.quota.worth.readers import Moments, moments_of, readers_of
from nas.quota.worth.stand_in import hand_over, ranking

Floats = NDArray[np.float64]

_POINTS = 65


class Legacy:
    """subnet: of `network`. loss_of: of a network on batch 0 .. batches - 1 of the pictures.

    sees_all: whether each group has a reader; where one has none, somebody else must have put its channels in order.
    curves: by group, what is lost with 0 .. n of its channels, as the last look and its weighing found it.
    """

    def __init__(self, network: nn.Module, groups: Groups, subnet: Subnet, loss_of: LossOf, batches: int) -> None:
        self._network, self._subnet, self._loss_of, self._batches = network, subnet, loss_of, batches
        self._readers = readers_of(network, groups)
        self.sees_all = all(self._readers.values())
        self._moments: dict[str, list[Moments]] = {}
        self.curves: dict[str, Floats] = {}

    def look(self, holding: Holding, before: Keep) -> None:
        """Learn from the network of the channels `before`, which are in the urn, and put them in order."""
        small, _ = self._subnet.take(before, training=False)
        self._moments = moments_of(small, self._readers, before, self._subnet.places, self._loss_of, self._batches)
        self.curves = {}
        for name, channels in before.items():
            found = ranking(self._moments[name])
            if found is not None:
                left = holding.order[name][len(channels) :]
                holding.order[name] = np.concatenate([channels[found.order], left])
                self.curves[name] = found.lost
        usual = _usual(list(self.curves.values()))
        for name, channels in before.items():
            curve = self.curves.get(
                name, np.interp(np.linspace(0, 1, len(channels) + 1), np.linspace(0, 1, len(usual)), usual)
            )
            self.curves[name] = np.concatenate([curve, np.zeros(holding.sizes[name] - len(channels))])
        self.curves = {name: self.curves[name] for name in holding.sizes}
        self._subnet.drop()

    def weigh(self, holding: Holding, before: Keep, generator: np.random.Generator, draws: int) -> None:
        """Compare `draws` sub-networks, and weigh the groups' curves by their losses; without any they weigh alike."""
        if not draws:
            return
        # The plain urn, each group's floor set aside: a regression needs no exact means, which take minutes for 10,000 balls.
        floor, allotment = holding.blocks.floor, holding.allotment
        free = np.maximum(allotment.balls - floor, 0)
        rest = max(0, min(allotment.quota - int(floor.sum()), int(free.sum())))
        drawn = generator.multivariate_hypergeometric(free, rest, size=draws, method="marginals")
        counts = [holding.named(floor + each) for each in drawn]
        losses = np.array([self._rehearsed(before, holding.first(each)) for each in counts])
        lost = np.array([[self.curves[name][count] for name, count in each.items()] for each in counts])
        self.curves = {
            name: curve * weight
            for (name, curve), weight in zip(self.curves.items(), weights_of(lost, losses), strict=True)
        }

    def widths(self, holding: Holding, align: int, floor: Mapping[str, int]) -> dict[str, int]:
        """Those that lose least, for the quota; floor: the channels that each group has at least."""
        return best_widths(self.curves, holding.rounded(), holding.lookup, holding.limit, floor, align)

    def hand_over(self, before: Keep, after: Keep) -> None:
        """For good."""
        hand_over(self._network, self._moments, before, after)

    def _rehearsed(self, before: Keep, after: Keep) -> float:
        """The loss of a sub-network after its handing-over, which is undone."""
        layers = {reader.layer for several in self._readers.values() for reader in several}
        weights = [
            weight
            for layer in sorted(layers)
            for weight in self._network.get_submodule(layer).parameters(recurse=False)
        ]
        saved = [weight.detach().clone() for weight in weights]
        hand_over(self._network, self._moments, before, after)
        loss = float(losses_of(self._subnet, [after], self._loss_of, self._batches)[0])
        for weight, value in zip(weights, saved, strict=True):
            weight.data.copy_(value)
        return loss


def _usual(curves: list[Floats]) -> Floats:
    """What is lost over the share of channels that stay, in the mean: of groups that no dense layer reads, nothing else is known."""
    shares = np.linspace(0, 1, _POINTS)
    if not curves:
        straight: Floats = 1 - shares
        return straight
    usual: Floats = np.mean([np.interp(shares, np.linspace(0, 1, len(curve)), curve) for curve in curves], axis=0)
    return usual
