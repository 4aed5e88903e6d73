"""What channels earn, learnt step by step -> mean widths that move a little at each adjustment, no further than draws have looked.

While the urn shrinks from all channels to the quota, so does the spread of the draws, and with it the furthest that the
mean widths move.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.core.seeding import stream
from nas.quota.channels.slices import Keep
from nas.quota.channels.subnet import Subnet
from nas.quota.training.adjuster import Found, Judges, order_by_whole
from nas.quota.training.config import QuotaConfig
from nas.quota.training.holding import Holding
from nas.quota.training.widths import Widths, best_of, moved
from nas.quota.worth.importance import Importance
from nas.quota.worth.probe import Slopes, losses_of

_FURTHEST = 0.25  # of a width, at one adjustment
_LARGER = 0.15  # by which share every second pair of probes exceeds the quota


class WhileTraining:
    """An `Adjuster`. seed: of the draws that are compared."""

    def __init__(
        self, holding: Holding, subnet: Subnet, importance: Importance, config: QuotaConfig, judges: Judges, seed: int
    ) -> None:  # fmt: skip
        self._holding, self._subnet, self._importance = holding, subnet, importance
        self._config, self._judges, self._seed = config, judges, seed
        self._slopes = Slopes(len(holding.sizes))

    def begin(self) -> bool:
        """Put the channels in order by the whole network."""
        order_by_whole(self._holding, self._importance, self._subnet, self._judges)
        return False

    def see(self, drawn: Keep) -> None:
        """Learn how important the channels of `drawn` are."""
        if not self._holding.final:
            self._importance.see(self._subnet.small, drawn, self._subnet.places)

    def adjust(self, done: int, progress: float) -> Found:
        """Sort what is in the urn, move the widths, shrink the urn as far as it is time to."""
        self._holding.sort(self._importance.values(), self._holding.balls())
        self._holding.adjusted(self._wanted(done), progress)
        return Found({}, {})

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"importance": self._importance.state(), "slopes": self._slopes.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._importance.load_state(state["importance"])
        self._slopes.load_state(state["slopes"])

    def _wanted(self, done: int) -> Widths:
        """Where the widths should go, whatever that costs."""
        holding, widths = self._holding, self._holding.widths
        spread = np.sqrt(np.maximum(0.0, np.diag(holding.allotment.covariance()))) * self._config.align
        reach = {name: min(float(sd), _FURTHEST * widths[name]) for name, sd in zip(widths, spread, strict=True)}
        if self._config.adjust == "nobody" or not any(reach.values()):
            return widths
        prices = holding.lookup.marginal({name: max(1, round(width)) for name, width in widths.items()})
        if self._config.adjust == "channels":
            earning = {name: values / prices[name] for name, values in self._importance.values().items()}
            target = best_of(earning, holding.lookup, holding.limit, holding.floor)
            return {name: p + float(np.clip(target[name] - p, -reach[name], reach[name])) for name, p in widths.items()}
        self._probe(done - 1)
        gains, errors = (dict(zip(widths, values, strict=True)) for values in self._slopes.earning())
        return moved(widths, gains, errors, prices, reach)

    def _probe(self, step: int) -> None:
        """Compare antithetic pairs of draws on the pictures that are put aside."""
        loss_of, holding = self._judges.loss_of, self._holding
        assert loss_of is not None
        generator = stream(self._seed, "probe", step)
        pairs = self._config.pairs or len(holding.sizes) + 2
        means, low, high = holding.allotment.means, holding.blocks.floor, holding.allotment.balls
        counts = [holding.allotment.draws(_LARGER * (pair % 2)).counts(generator, 1)[0] for pair in range(pairs)]
        mirrored = [np.clip(np.rint(2 * means - drawn), low, high).astype(np.int64) for drawn in counts]
        keeps = [holding.first(holding.named(drawn)) for drawn in [*counts, *mirrored]]
        losses = losses_of(self._subnet, keeps, loss_of, self._judges.batches)
        seen = [holding.blocks.channels(np.array(drawn)).astype(float) for drawn in (counts, mirrored)]
        covariance = holding.allotment.covariance() * self._config.align**2
        self._slopes.see(seen[0] - seen[1], losses[:pairs] - losses[pairs:], covariance)
