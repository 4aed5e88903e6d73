"""A training under the quota, step by step: draw, train the sub-network, learn what channels earn, adjust the urn.

It owns no loop: whoever trains asks for a network before each step and hands it back after (`nas.train.recipe.stepper` has the same
shape). Who adjusts the urn, and by what, is an `Adjuster`. At the end the urn holds exactly the quota: `keep` names the final
channels.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from nas.core.errors import InputError
from nas.core.seeding import stream
from nas.quota.channels.cut import cut
from nas.quota.channels.groups import Groups, sizes_to_cut
from nas.quota.channels.slices import Keep
from nas.quota.channels.subnet import Subnet
from nas.quota.training.adjuster import Adjuster, Judges
from nas.quota.training.by_curves import ByCurves
from nas.quota.training.config import QuotaConfig
from nas.quota.training.holding import Holding
from nas.quota.training.legacy import Legacy
from nas.quota.training.while_training import WhileTraining
from nas.quota.urn.draw import Draws, random_channels
from nas.quota.worth.importance import IMPORTANCES


class Look(msgspec.Struct, frozen=True):
    """How the quota stands after `step` steps. widths: p_g; balls: m_g; drawn: X_g of the last draw; all in channels.

    curves: by group, what is lost with 0 .. n channels, in a unit that all groups share; {} where curves do not adjust. tried:
    the error of "even" widths, of those by "curves", and of "bold" ones after a short training; {} where none were tried out.
    """

    step: int
    widths: dict[str, float]
    balls: dict[str, int]
    drawn: dict[str, int]
    curves: dict[str, tuple[float, ...]] = {}
    tried: dict[str, float] = {}


class QuotaTraining:
    """seed: of the draws, which depend on it and on the step alone. holding: how the quota stands now."""

    def __init__(
        self, network: nn.Module, groups: Groups, optimizer: Optimizer, config: QuotaConfig, judges: Judges, seed: int = 0
    ) -> None:  # fmt: skip
        self._config, self._seed, self._groups = config, seed, groups
        self.sizes = sizes_to_cut(groups)
        self.holding = Holding(self.sizes, config, judges.cost_of)
        self._subnet = Subnet(network, groups, optimizer)
        self._adjuster = self._adjuster_of(network, groups, judges)
        self._begun = False
        self._draws: Draws | None = None
        self._drawn: Keep = {}
        self._number, self._changed = -1, True
        self.history: list[Look] = []

    def begin(self, step: int, steps: int) -> tuple[nn.Module, Optimizer]:
        """The network and the optimiser of this step."""
        del steps
        if not self._begun:
            if self._adjuster.begin():
                self._adjust(0, 0.0)
            self._begun = True
        number = step // self._config.hold
        if number != self._number or self._changed:  # the very same draw again costs less to take
            self.settle()
            self._drawn, self._number, self._changed = self._draw(number), number, False
        return self._subnet.take(self._drawn)

    def end(self, step: int, steps: int) -> None:
        """After the optimiser's step, gradients still in place: learn, and adjust if it is time to."""
        self._adjuster.see(self._drawn)
        last = step + 1 == steps
        if not self.holding.final and (last or (step + 1) % self._config.adjust_every == 0):
            self._adjust(step + 1, 1.0 if last else (step + 1) / steps)

    def settle(self) -> None:
        """Give back what has trained since it was drawn."""
        self._subnet.give_back()

    def evaluated(self, network: nn.Module) -> nn.Module:
        """The channels in the urn alone, of the whole network or of the average of its weights."""
        return cut(network, self._groups, self.keep())

    def keep(self) -> Keep:
        """The channels in the urn, by group; at the end, those of the final network."""
        return self.holding.first(self.holding.balls())

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "holding": self.holding.state(),
            "begun": self._begun,
            "adjuster": self._adjuster.state(),
            "history": msgspec.to_builtins(self.history),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.holding.load_state(state["holding"])
        self._adjuster.load_state(state["adjuster"])
        self._begun = state["begun"]
        self.history = msgspec.convert(state["history"], list[Look])
        self._draws, self._changed = None, True
        self._subnet.drop()  # of the weights that were there before

    def identity(self) -> dict[str, Any]:
        """What two sessions of one run have in common."""
        return {"quota": msgspec.to_builtins(self._config), "quota_seed": self._seed}

    def _adjuster_of(self, network: nn.Module, groups: Groups, judges: Judges) -> Adjuster:
        config, loss_of = self._config, judges.loss_of
        by_curves = config.adjust == "curves" or config.hand_over
        if loss_of is None and (by_curves or config.adjust == "losses"):
            raise InputError("quota", "adjust", "pictures to compare losses on", "none", "adjust: channels needs none")
        importance = IMPORTANCES[config.importance](groups, config.memory)
        if not by_curves or loss_of is None:
            return WhileTraining(self.holding, self._subnet, importance, config, judges, self._seed)
        legacy = Legacy(network, groups, self._subnet, loss_of, judges.batches)
        return ByCurves(self.holding, self._subnet, importance, config, judges, legacy, self._seed)

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
        self.settle()
        found = self._adjuster.adjust(done, progress)
        self._draws, self._changed = None, True
        drawn = {name: len(channels) for name, channels in (self._drawn or self.keep()).items()}
        known = {name: tuple(np.round(curve, 5).tolist()) for name, curve in found.curves.items()}
        tried = dict(found.tried)
        self.history.append(Look(done, self.holding.widths, self.holding.balls(), drawn, known, tried))
