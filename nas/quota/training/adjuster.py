"""Who spreads the quota over the groups, and by what: the one that a training under the quota asks.

`ByCurves`       by what readers lose at each width; at the beginning, or while the whole urn is trained
`WhileTraining`  by the losses of draws, or by the importance of channels, a little at each adjustment
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.quota.channels.slices import Keep
from nas.quota.channels.subnet import Subnet
from nas.quota.training.holding import Holding
from nas.quota.worth.curves import Curves
from nas.quota.worth.importance import Importance, judge
from nas.quota.worth.price import CostOf
from nas.quota.worth.probe import LossOf

# The channels of a network, and a share of the steps -> which pictures that are put aside it gets wrong, once it has trained for these.
TriedOut = Callable[[Keep, float], NDArray[np.bool_]]


class Judges(NamedTuple):
    """cost_of: what networks cost, None counts channels. loss_of: their loss on batch 0 .. batches - 1 of pictures that
    are put aside, for the order of the channels at the beginning and for adjusting by losses. tried_out: see `TriedOut`; None
    where nobody can train.
    """

    cost_of: CostOf | None = None
    loss_of: LossOf | None = None
    batches: int = 4
    tried_out: TriedOut | None = None


class Found(NamedTuple):
    """What an adjustment was made by. curves: of all widths, {} if there are none; tried: the error of each way to spread
    the quota after a short training, {} if none was tried.
    """

    curves: Curves
    tried: Mapping[str, float]


class Adjuster(Protocol):
    """Changes a `Holding`."""

    def begin(self) -> bool:
        """Before the first step, put the channels in order; whether the urn is to be adjusted at once."""

    def see(self, drawn: Keep) -> None:
        """After a step of the optimiser on the sub-network `drawn`, gradients in place."""

    def adjust(self, done: int, progress: float) -> Found:
        """After `done` steps, which are the share `progress` of all."""

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""


def order_by_whole(holding: Holding, importance: Importance, subnet: Subnet, judges: Judges) -> None:
    """Put all channels in the order of their importance in the whole network, where there are pictures to tell it by."""
    if judges.loss_of is None:
        return
    whole, _ = subnet.take({}, training=False)
    judge(importance, whole, judges.loss_of, judges.batches)
    subnet.drop()
    holding.sort(importance.values(), holding.sizes)
