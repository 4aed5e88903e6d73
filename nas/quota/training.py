"""A training under the quota, step by step: draw, train the sub-network, learn what channels earn, adjust the urn.

It owns no loop: whoever trains asks for a network before each step and hands it back after (`nas.train.stepper` has the same
shape). While the urn shrinks from all channels to the quota, so does the spread of the draws, and with it the furthest that
the mean widths move at an adjustment. At the end the urn holds exactly the quota: `keep` names the final channels.

Where channels hand over (`nas.quota.stand_in`), those that leave the urn pass what they did on to those that stay.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from nas.core.errors import InputError
from nas.core.seeding import stream
from nas.quota.draw import Draws, random_channels
from nas.quota.groups import Groups
from nas.quota.holding import Holding
from nas.quota.importance import IMPORTANCES, judge
from nas.quota.legacy import Legacy
from nas.quota.price import CostOf
from nas.quota.probe import LossOf, Slopes, losses_of
from nas.quota.quota_config import QuotaConfig
from nas.quota.slices import Keep
from nas.quota.subnet import Subnet
from nas.quota.widths import Widths, best_of, moved

_FURTHEST = 0.25  # of a width, at one adjustment
_LARGER = 0.15  # by which share every second pair of probes exceeds the quota


class Judges(NamedTuple):
    """cost_of: what networks cost, None counts channels. loss_of: their loss on batch 0 .. batches - 1 of pictures that
    are put aside, for the order of the channels at the beginning and for adjusting by losses.
    """

    cost_of: CostOf | None = None
    loss_of: LossOf | None = None
    batches: int = 4


class Look(msgspec.Struct, frozen=True):
    """How the quota stands after `step` steps. widths: p_g; balls: m_g; drawn: X_g of the last draw; all in channels."""

    step: int
    widths: dict[str, float]
    balls: dict[str, int]
    drawn: dict[str, int]


class QuotaTraining:
    """seed: of the draws, which depend on it and on the step alone. holding: how the quota stands now."""

    def __init__(
        self, network: nn.Module, groups: Groups, optimizer: Optimizer, config: QuotaConfig, judges: Judges, seed: int = 0
    ) -> None:  # fmt: skip
        if not groups.cut:
            reasons = "; ".join(set(groups.kept.values()))
            raise InputError("quota", "network", "channels that can be cut", "none", reasons)
        looks = config.adjust == "curves" or config.hand_over
        if judges.loss_of is None and (config.adjust == "losses" or looks):
            raise InputError("quota", "adjust", "pictures to compare losses on", "none", "adjust: channels needs none")
        self._config, self._judges, self._seed = config, judges, seed
        self.sizes = {group.name: group.size for group in groups.cut}
        self.holding = Holding(self.sizes, config, judges.cost_of)
        self._judged = False
        self.importance = IMPORTANCES[config.importance](groups, config.memory)
        self._slopes = Slopes(len(self.sizes))
        self._subnet = Subnet(network, groups, optimizer)
        self._legacy = None
        if looks and judges.loss_of is not None:
            self._legacy = Legacy(network, groups, self._subnet, judges.loss_of, judges.batches)
        self._draws: Draws | None = None
        self._drawn: Keep = {}
        self._number, self._changed = -1, True
        self.history: list[Look] = []

    def begin(self, step: int, steps: int) -> tuple[nn.Module, Optimizer]:
        """The network and the optimiser of this step."""
        del steps
        if not self._judged:
            self._judge()
        number = step // self._config.hold
        if number != self._number or self._changed:  # the very same draw again costs less to take
            self._drawn, self._number, self._changed = self._draw(number), number, False
        return self._subnet.take(self._drawn)

    def end(self, step: int, steps: int) -> None:
        """After the optimiser's step, gradients still in place: learn, give back, and adjust if it is time to."""
        if self._legacy is None and not self.holding.final:
            self.importance.see(self._subnet.small, self._drawn, self._subnet.places)
        self._subnet.give_back()
        last = step + 1 == steps
        if not self.holding.final and (last or (step + 1) % self._config.adjust_every == 0):
            self._adjust(step + 1, 1.0 if last else (step + 1) / steps)

    def keep(self) -> Keep:
        """The channels in the urn, by group; at the end, those of the final network."""
        return self.holding.first(self.holding.balls())

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "holding": self.holding.state(),
            "judged": self._judged,
            "importance": self.importance.state(),
            "slopes": self._slopes.state(),
            "history": msgspec.to_builtins(self.history),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.holding.load_state(state["holding"])
        self.importance.load_state(state["importance"])
        self._slopes.load_state(state["slopes"])
        self._judged = state["judged"]
        self.history = msgspec.convert(state["history"], list[Look])
        self._draws, self._changed = None, True

    def identity(self) -> dict[str, Any]:
        """What two sessions of one run have in common."""
        return {"quota": msgspec.to_builtins(self._config), "quota_seed": self._seed}

    def _judge(self) -> None:
        """The order of the channels at the beginning, by the whole network; an urn that is to shrink at once does so."""
        if self._judges.loss_of is not None and not (self._config.hand_over and self._legacy and self._legacy.sees_all):
            whole, _ = self._subnet.take({}, training=False)
            judge(self.importance, whole, self._judges.loss_of, self._judges.batches)
            self._subnet.drop()
            self.holding.sort(self.importance.values(), self.sizes)
        if self._config.end == 0 and self._legacy is not None:
            self._adjust(0, 0.0)
        self._judged = True

    def _draw(self, number: int) -> Keep:
        holding = self.holding
        if holding.final or self._config.draw == "none":
            return self.keep()
        if self._config.draw == "mean":
            return holding.first(holding.named(holding.allotment.nearest()))
        self._draws = self._draws or holding.allotment.draws()
        generator = stream(self._seed, "draw", number)
        return self._channels(self._draws.counts(generator, 1)[0], generator)

    def _channels(self, blocks: NDArray[np.int64], generator: np.random.Generator) -> Keep:
        if self._config.draw == "random":
            counts = self.holding.blocks.channels(blocks)
            chosen = random_channels(counts, list(self.keep().values()), generator)
            return dict(zip(self.sizes, chosen, strict=True))
        return self.holding.first(self.holding.named(blocks))

    def _adjust(self, done: int, progress: float) -> None:
        """After `done` steps."""
        if self._legacy is None:
            self.holding.sort(self.importance.values(), self.holding.balls())
            self.holding.adjusted(self._wanted(done), progress)
        else:
            before, order = self.keep(), dict(self.holding.order)
            self._legacy.look(self.holding, before)
            if self._config.adjust == "curves":
                generator = stream(self._seed, "draws of a look", done)
                pairs = min(5, len(self.sizes) + 2) if self._config.pairs is None else self._config.pairs
                self._legacy.weigh(self.holding, before, generator, 2 * pairs)
                widths = self._legacy.widths(self.holding, self._config.align)
                if progress >= self._config.end:
                    self.holding.finish(widths)
                else:
                    self.holding.adjusted(widths, progress, grows=False)
            else:
                self.holding.adjusted(self.holding.widths, progress, grows=False)
            if self._config.hand_over:
                self._legacy.hand_over(before, self.keep())
            else:
                self.holding.order = order
        self._draws, self._changed = None, True
        drawn = {name: len(channels) for name, channels in (self._drawn or self.keep()).items()}
        self.history.append(Look(done, self.holding.widths, self.holding.balls(), drawn))

    def _wanted(self, done: int) -> Widths:
        """Where the widths should go, whatever that costs."""
        holding = self.holding
        widths = holding.widths
        spread = np.sqrt(np.maximum(0.0, np.diag(holding.allotment.covariance()))) * self._config.align
        reach = {name: min(float(sd), _FURTHEST * widths[name]) for name, sd in zip(self.sizes, spread, strict=True)}
        if self._config.adjust == "nobody" or not any(reach.values()):
            return widths
        prices = holding.lookup.marginal({name: max(1, round(width)) for name, width in widths.items()})
        if self._config.adjust == "channels":
            earning = {name: values / prices[name] for name, values in self.importance.values().items()}
            target = best_of(earning, holding.lookup, holding.limit, holding.floor)
            return {name: p + float(np.clip(target[name] - p, -reach[name], reach[name])) for name, p in widths.items()}
        self._probe(done - 1)
        gains, errors = (dict(zip(self.sizes, values, strict=True)) for values in self._slopes.earning())
        return moved(widths, gains, errors, prices, reach)

    def _probe(self, step: int) -> None:
        """Compare antithetic pairs of draws on the pictures that are put aside."""
        loss_of, holding = self._judges.loss_of, self.holding
        assert loss_of is not None
        generator = stream(self._seed, "probe", step)
        pairs = self._config.pairs or len(self.sizes) + 2
        means, low, high = holding.allotment.means, holding.blocks.floor, holding.allotment.balls
        counts = [holding.allotment.draws(_LARGER * (pair % 2)).counts(generator, 1)[0] for pair in range(pairs)]
        mirrored = [np.clip(np.rint(2 * means - drawn), low, high).astype(np.int64) for drawn in counts]
        keeps = [holding.first(holding.named(drawn)) for drawn in [*counts, *mirrored]]
        losses = losses_of(self._subnet, keeps, loss_of, self._judges.batches)
        seen = [holding.blocks.channels(np.array(drawn)).astype(float) for drawn in (counts, mirrored)]
        covariance = holding.allotment.covariance() * self._config.align**2
        self._slopes.see(seen[0] - seen[1], losses[:pairs] - losses[pairs:], covariance)
