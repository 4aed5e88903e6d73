"""A training under the quota, step by step: draw, train the sub-network, learn what channels earn, adjust the urn.

It owns no loop: whoever trains asks for a network before each step and hands it back after (`nas.train.stepper` has the same
shape). While the urn shrinks from all channels to the quota, so does the spread of the draws, and with it the furthest that
the mean widths move at an adjustment. At the end the urn holds exactly the quota: `keep` names the final channels.

With a price other than 1 the quota is a price: at any time, a network of the mean widths costs no more than it, so the
number of channels that are drawn changes with the widths.
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
from nas.quota.allotment import Allotment, allot, blocks_of
from nas.quota.draw import Draws, random_channels
from nas.quota.groups import Groups
from nas.quota.importance import IMPORTANCES, judge
from nas.quota.price import CostOf, Lookup
from nas.quota.probe import LossOf, Slopes, losses_of
from nas.quota.quota_config import QuotaConfig
from nas.quota.shrinking import Schedule
from nas.quota.slices import Keep
from nas.quota.subnet import Subnet
from nas.quota.widths import Widths, best_of, fitted, moved, rounded

_FURTHEST = 0.25  # of a width, at one adjustment
_LARGER = 0.15  # by which share every second pair of probes exceeds the quota
_CALM = 0.7  # of the mean over the latest adjustments, whose widths swing around the best


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
    """seed: of the draws, which depend on it and on the step alone."""

    def __init__(
        self, network: nn.Module, groups: Groups, optimizer: Optimizer, config: QuotaConfig, judges: Judges, seed: int = 0
    ) -> None:  # fmt: skip
        if not groups.cut:
            reasons = "; ".join(set(groups.kept.values()))
            raise InputError("quota", "network", "channels that can be cut", "none", reasons)
        if config.adjust == "losses" and judges.loss_of is None:
            raise InputError("quota", "adjust", "pictures to compare losses on", "none", "adjust: channels needs none")
        self._config, self._judges, self._seed = config, judges, seed
        self.sizes = {group.name: group.size for group in groups.cut}
        self._lookup = Lookup(judges.cost_of or (lambda counts: float(sum(counts.values()))), self.sizes, config.align)
        aligned = self._lookup.aligned
        least = {name: min(size, aligned(config.minimum)) for name, size in self.sizes.items()}
        self.limit = max(config.share * self._lookup.whole, self._lookup(least))
        even = fitted(self.sizes, self._lookup, self.limit, least)
        self._floor = {
            name: max(least[name], min(self.sizes[name], aligned(int(config.floor * width), up=False)))
            for name, width in even.items()
        }
        self._blocks = blocks_of(self.sizes, config.align, self._floor)
        self.widths = self._start(even)
        self._calm = dict(self.widths)
        self.allotment = allot(self._blocks, self.widths, int(self._blocks.blocks.sum()))
        self._order = {name: np.arange(size) for name, size in self.sizes.items()}
        self._judged, self._final = False, False
        self.importance = IMPORTANCES[config.importance](groups, config.memory)
        self._slopes = Slopes(len(self.sizes))
        self._schedule = Schedule(config.begin, config.end)
        self._network, self._subnet = network, Subnet(network, groups, optimizer)
        self._draws: Draws | None = None
        self._drawn: Keep = {}
        self._number = -1
        self.history: list[Look] = []

    def begin(self, step: int, steps: int) -> tuple[nn.Module, Optimizer]:
        """The network and the optimiser of this step."""
        del steps
        if not self._judged:
            self._judge()
        number = step // self._config.hold
        if number != self._number or self._draws is None:  # the very same draw again costs less to take
            self._drawn, self._number = self._draw(number), number
        return self._subnet.take(self._drawn)

    def end(self, step: int, steps: int) -> None:
        """After the optimiser's step, gradients still in place: learn, give back, and adjust if it is time to."""
        self.importance.see(self._subnet.small, self._drawn, self._subnet.places)
        self._subnet.give_back()
        last = step + 1 == steps
        if not self._final and (last or (step + 1) % self._config.adjust_every == 0):
            self._adjust(step, 1.0 if last else (step + 1) / steps)

    def keep(self) -> Keep:
        """The channels in the urn, by group; at the end, those of the final network."""
        balls = self._blocks.channels(self.allotment.balls)
        return self._first(dict(zip(self.sizes, balls.tolist(), strict=True)))

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "limit": self.limit,
            "prices": self._lookup.known(),
            "floor": self._floor,
            "widths": self.widths,
            "calm": self._calm,
            "means": self.allotment.means.tolist(),
            "balls": self.allotment.balls.tolist(),
            "order": {name: order.tolist() for name, order in self._order.items()},
            "judged": self._judged,
            "final": self._final,
            "importance": self.importance.state(),
            "slopes": self._slopes.state(),
            "history": msgspec.to_builtins(self.history),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.limit, self._floor = (
            float(state["limit"]),
            dict(state["floor"]),
        )  # measured prices are never the same twice
        self._lookup.load(state["prices"])
        self._blocks = blocks_of(self.sizes, self._config.align, self._floor)
        self.importance.load_state(state["importance"])
        self._slopes.load_state(state["slopes"])
        self.widths = {name: float(width) for name, width in state["widths"].items()}
        self._calm = {name: float(width) for name, width in state["calm"].items()}
        self.allotment = Allotment(self._blocks, np.array(state["means"], float), np.array(state["balls"], np.int64))
        self._order = {name: np.array(order, np.int64) for name, order in state["order"].items()}
        self._judged, self._final = state["judged"], state["final"]
        self.history = msgspec.convert(state["history"], list[Look])
        self._draws = None

    def identity(self) -> dict[str, Any]:
        """What two sessions of one run have in common."""
        return {"quota": msgspec.to_builtins(self._config), "quota_seed": self._seed}

    def _start(self, even: Widths) -> Widths:
        """The mean widths that the urn begins with: in proportion to its balls."""
        balls = {**self.sizes, **(self._config.start or {})}
        for name, count in balls.items():
            if name not in self.sizes or not self._floor[name] <= count <= self.sizes[name]:
                expected = f"{self._floor.get(name, 1)} to {self.sizes.get(name, 0)} balls of a group that can be cut"
                raise InputError("quota", f"start.{name}", expected, count, f"groups: {', '.join(self.sizes)}")
        return even if self._config.start is None else fitted(balls, self._lookup, self.limit, self._floor)

    def _judge(self) -> None:
        """The order of the channels at the beginning: by the importance in the whole network, where there are pictures."""
        if self._judges.loss_of is not None:
            whole, _ = self._subnet.take({}, training=False)
            judge(self.importance, whole, self._judges.loss_of, self._judges.batches)
            self._subnet.drop()
            self._sort(dict(self.sizes))
        self._judged = True

    def _sort(self, among: Mapping[str, int]) -> None:
        """Put the first `among` of each group in order of importance; who was not drawn since cannot be compared."""
        for name, values in self.importance.values().items():
            order, count = self._order[name], among[name]
            worth = np.nan_to_num(values[order[:count]], nan=np.inf)
            self._order[name] = np.concatenate([order[:count][np.argsort(-worth, kind="stable")], order[count:]])

    def _draw(self, number: int) -> Keep:
        self._draws = self._draws or self.allotment.draws()
        if self._final or self._config.draw == "none":
            return self.keep()
        if self._config.draw == "mean":
            return self._first(
                dict(zip(self.sizes, self._blocks.channels(self.allotment.nearest()).tolist(), strict=True))
            )
        generator = stream(self._seed, "draw", number)
        return self._channels(self._draws.counts(generator, 1)[0], generator)

    def _channels(self, blocks: NDArray[np.int64], generator: np.random.Generator) -> Keep:
        counts = self._blocks.channels(blocks)
        if self._config.draw == "random":
            chosen = random_channels(counts, list(self.keep().values()), generator)
            return dict(zip(self.sizes, chosen, strict=True))
        return self._first(dict(zip(self.sizes, counts.tolist(), strict=True)))

    def _adjust(self, step: int, progress: float) -> None:
        self._sort(dict(zip(self.sizes, self._blocks.channels(self.allotment.balls).tolist(), strict=True)))
        if progress >= self._config.begin:
            self.widths = fitted(self._wanted(step), self._lookup, self.limit, self._floor)
            self._calm = {name: _CALM * self._calm[name] + (1 - _CALM) * width for name, width in self.widths.items()}
        if progress >= self._config.end:
            self._finish()
        else:
            total = self._schedule.total(int(self._blocks.blocks.sum()), self.allotment.quota, progress)
            self.allotment = allot(self._blocks, self.widths, total)
        self._draws = None
        balls = self._blocks.channels(self.allotment.balls).tolist()
        drawn = {name: len(channels) for name, channels in self._drawn.items()}
        self.history.append(Look(step + 1, self.widths, dict(zip(self.sizes, balls, strict=True)), drawn))

    def _finish(self) -> None:
        """The urn holds the quota and no more: the draw is the final network."""
        counts = rounded(self._calm, self._lookup, self.limit, self._floor, self._config.align)
        blocks = -(-np.array(list(counts.values()), np.int64) // self._config.align)
        self.widths = {name: float(count) for name, count in counts.items()}
        self.allotment = Allotment(self._blocks, blocks.astype(float), blocks)
        self._final = True

    def _first(self, counts: Mapping[str, int]) -> Keep:
        """The best channels, so many of each group."""
        return {name: np.sort(self._order[name][:count]) for name, count in counts.items()}

    def _wanted(self, step: int) -> Widths:
        """Where the widths should go, whatever that costs."""
        spread = np.sqrt(np.maximum(0.0, np.diag(self.allotment.covariance()))) * self._config.align
        reach = {
            name: min(float(sd), _FURTHEST * self.widths[name]) for name, sd in zip(self.sizes, spread, strict=True)
        }
        if self._config.adjust == "nobody" or not any(reach.values()):
            return self.widths
        prices = self._lookup.marginal({name: max(1, round(width)) for name, width in self.widths.items()})
        if self._config.adjust == "channels":
            earning = {name: values / prices[name] for name, values in self.importance.values().items()}
            target = best_of(earning, self._lookup, self.limit, self._floor)
            return {
                name: p + float(np.clip(target[name] - p, -reach[name], reach[name])) for name, p in self.widths.items()
            }
        self._probe(step)
        gains, errors = (dict(zip(self.sizes, values, strict=True)) for values in self._slopes.earning())
        return moved(self.widths, gains, errors, prices, reach)

    def _probe(self, step: int) -> None:
        """Compare antithetic pairs of draws on the pictures that are put aside."""
        loss_of = self._judges.loss_of
        assert loss_of is not None
        generator = stream(self._seed, "probe", step)
        pairs = self._config.pairs or len(self.sizes) + 2
        means, low, high = self.allotment.means, self._blocks.floor, self.allotment.balls
        counts = [self.allotment.draws(_LARGER * (pair % 2)).counts(generator, 1)[0] for pair in range(pairs)]
        mirrored = [np.clip(np.rint(2 * means - drawn), low, high).astype(np.int64) for drawn in counts]
        keeps = [
            self._first(dict(zip(self.sizes, self._blocks.channels(drawn).tolist(), strict=True)))
            for drawn in [*counts, *mirrored]
        ]
        losses = losses_of(self._subnet, keeps, loss_of, self._judges.batches)
        seen = [self._blocks.channels(np.array(drawn)).astype(float) for drawn in (counts, mirrored)]
        covariance = self.allotment.covariance() * self._config.align**2
        self._slopes.see(seen[0] - seen[1], losses[:pairs] - losses[pairs:], covariance)
