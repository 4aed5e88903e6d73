"""What the readers of each group lose at each width -> the widths that lose least for the price, mostly before the first step.

Curves tell what the trained network makes of its channels, not what a smaller one could learn to make of others. How far to trust
them is told by short trainings: of the widths that they choose when no group may become narrow, of those when one may become twice
as narrow, and of even ones.
"""

from collections.abc import Mapping
from typing import Any

from nas.core.seeding import stream
from nas.quota.channels.labels import Ints
from nas.quota.channels.slices import Keep
from nas.quota.channels.subnet import Subnet
from nas.quota.training.adjuster import Found, Judges, TriedOut, order_by_whole
from nas.quota.training.config import QuotaConfig
from nas.quota.training.holding import Holding
from nas.quota.training.legacy import Legacy
from nas.quota.worth.importance import Importance

_MOST_PAIRS = 5
_BOLD = 0.5  # of the floor, for the bolder ones of the widths by curves
_ERRORS = 1.0  # standard errors that even widths have to be better by


class ByCurves:
    """An `Adjuster`, which learns nothing from the steps themselves. seed: of the draws that are compared.

    Where channels hand over what they did, the curves also say which go first; where not, the importance does.
    """

    def __init__(
        self, holding: Holding, subnet: Subnet, importance: Importance, config: QuotaConfig, judges: Judges,
        legacy: Legacy, seed: int,
    ) -> None:  # fmt: skip
        self._holding, self._subnet, self._importance = holding, subnet, importance
        self._config, self._judges, self._legacy, self._seed = config, judges, legacy, seed

    def begin(self) -> bool:
        """Put the channels in order; an urn that is to shrink at once does so."""
        if not (self._config.hand_over and self._legacy.sees_all):
            order_by_whole(self._holding, self._importance, self._subnet, self._judges)
        return self._config.end == 0

    def see(self, drawn: Keep) -> None:
        """Nothing."""

    def adjust(self, done: int, progress: float) -> Found:
        """Look at what is in the urn, find the widths, and let those that leave hand over."""
        holding, legacy = self._holding, self._legacy
        before, order = holding.first(holding.balls()), dict(holding.order)
        legacy.look(holding, before)
        found = Found({}, {})
        if self._config.adjust == "curves":
            found = self._shrink_by_curves(done, progress, before, order)
        else:
            holding.adjusted(holding.widths, progress, grows=False)
        if self._config.hand_over:
            legacy.hand_over(before, holding.first(holding.balls()))
        return found

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"importance": self._importance.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._importance.load_state(state["importance"])

    def _shrink_by_curves(self, done: int, progress: float, before: Keep, order: dict[str, Ints]) -> Found:
        """order: of the channels, where none hand over; draws are compared in the one of the look."""
        holding, config = self._holding, self._config
        pairs = min(_MOST_PAIRS, len(holding.sizes) + 2) if config.pairs is None else config.pairs
        self._legacy.weigh(holding, before, stream(self._seed, "draws of a look", done), 2 * pairs)
        widths = self._legacy.widths(holding, config.align, holding.floor)
        if not config.hand_over:
            holding.order = order
        if progress < config.end:
            holding.adjusted({name: float(width) for name, width in widths.items()}, progress, grows=False)
            return Found(self._legacy.curves, {})
        tried: dict[str, float] = {}
        if self._judges.tried_out is not None and config.try_out and not config.hand_over:
            bold = self._legacy.widths(holding, config.align, holding.floor_at(_BOLD * config.floor))
            widths, tried = self._best(self._judges.tried_out, {"curves": widths, "bold": bold}, holding.rounded())
        holding.finish(widths)
        return Found(self._legacy.curves, tried)

    def _best(
        self, tried_out: TriedOut, by_curves: Mapping[str, Mapping[str, int]], even: Mapping[str, int]
    ) -> tuple[dict[str, int], dict[str, float]]:
        """The widths that err least after a short training, and by way what each gets wrong; even ones have to err less by more than
        chance. Nothing is tried where there is but one way.
        """
        ways = {"even": even}
        for name, widths in by_curves.items():
            if widths not in ways.values():
                ways[name] = widths
        if len(ways) == 1:
            return dict(even), {}
        wrong = {
            name: tried_out(self._holding.first(widths), self._config.try_out).astype(float)
            for name, widths in ways.items()
        }
        best = min((name for name in ways if name != "even"), key=lambda name: wrong[name].mean())
        more = wrong[best] - wrong["even"]  # picture by picture: hard ones count on both sides
        if more.mean() > _ERRORS * more.std() / len(more) ** 0.5:
            best = "even"
        return dict(ways[best]), {name: float(each.mean()) for name, each in wrong.items()}
