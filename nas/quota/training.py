"""A training under the quota, step by step: draw, train the sub-network, learn what its channels earn, adjust the urn.

It owns no loop: whoever trains asks for a network before each step and hands it back after. At the end the urn holds
exactly the quota, and `keep` names the channels of the final network.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from torch import nn
from torch.optim import Optimizer

from nas.core.errors import InputError
from nas.core.seeding import stream
from nas.quota.controller import Alive, Schedule, adjusted, earnings, urn_of
from nas.quota.draw import Draws, best_channels, prepare, random_channels
from nas.quota.groups import Groups
from nas.quota.importance import TaylorImportance
from nas.quota.slices import Keep
from nas.quota.subnet import Subnet


class QuotaConfig(msgspec.Struct, frozen=True):
    """share: of all channels that the final network keeps; minimum: channels of every group; schedule: how the urn shrinks.

    adjust_every: steps between adjustments; returning: share of the balls that may be exchanged at each; draw: which
    channels of a group are drawn, "random" ones or the "best" (nested); "none" trains all of the urn at every step.
    """

    share: float = 0.5
    minimum: int = 2
    begin: float = 0.1
    end: float = 0.6
    adjust_every: int = 20
    returning: float = 0.1
    draw: Literal["random", "best", "none"] = "random"
    memory: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError("quota", "share", "0 < share <= 1", self.share)
        if not 0 <= self.begin <= self.end <= 1:
            raise InputError("quota", "begin, end", "0 <= begin <= end <= 1", (self.begin, self.end))
        for name in ("minimum", "adjust_every"):
            if getattr(self, name) < 1:
                raise InputError("quota", name, "at least 1", getattr(self, name))


class QuotaTraining:
    """prices: of one channel by group, 1 where not said; seed: of the draws, which depend on it and on the step alone."""

    def __init__(
        self,
        network: nn.Module,
        groups: Groups,
        optimizer: Optimizer,
        config: QuotaConfig,
        prices: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        if not groups.cut:
            raise InputError(
                "quota", "network", "channels that can be cut", "none", "; ".join(set(groups.kept.values()))
            )
        self._config, self._seed = config, seed
        self._prices = {group.name: (prices or {}).get(group.name, 1.0) for group in groups.cut}
        self._minimum = {group.name: min(config.minimum, group.size) for group in groups.cut}
        self.channels = sum(group.size for group in groups.cut)
        self.quota = max(sum(self._minimum.values()), round(config.share * self.channels))
        self.alive: Alive = {group.name: np.ones(group.size, bool) for group in groups.cut}
        self.importance = TaylorImportance(groups, config.memory)
        self._schedule = Schedule(config.begin, config.end)
        self._subnet = Subnet(network, groups, optimizer)
        self._draws: Draws | None = None
        self._drawn: dict[str, Any] = {}

    def begin(self, step: int) -> tuple[nn.Module, Optimizer]:
        """The network and the optimiser of this step."""
        self._drawn = self._draw(step)
        return self._subnet.take(self._drawn)

    def end(self, step: int, steps: int) -> None:
        """After the optimiser's step, gradients still in place: learn, give back, and adjust if it is time to."""
        self.importance.see(self._subnet.small, self._drawn, self._subnet.places)
        self._subnet.give_back()
        if (step + 1) % self._config.adjust_every == 0 or step + 1 == steps:
            self._adjust((step + 1) / steps)

    def keep(self) -> Keep:
        """The channels in the urn, by group."""
        return {name: np.flatnonzero(channels) for name, channels in self.alive.items()}

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        alive = {name: np.flatnonzero(channels).tolist() for name, channels in self.alive.items()}
        return {"alive": alive, "importance": self.importance.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.importance.load_state(state["importance"])
        for name, channels in state["alive"].items():
            self.alive[name][:] = False
            self.alive[name][channels] = True
        self._draws = None

    def _draw(self, step: int) -> dict[str, Any]:
        balls = [np.flatnonzero(channels) for channels in self.alive.values()]
        if self._config.draw == "none":
            return dict(zip(self.alive, balls, strict=True))
        generator = stream(self._seed, "draw", step)
        self._draws = self._draws or prepare(urn_of(self.alive, self._minimum, self.quota))
        counts = self._draws.counts(generator, 1)[0]
        if self._config.draw == "random":
            chosen = random_channels(counts, balls, generator)
        else:
            worth = [np.nan_to_num(values, nan=np.inf) for values in self.importance.values().values()]
            chosen = best_channels(counts, balls, worth)
        return dict(zip(self.alive, chosen, strict=True))

    def _adjust(self, progress: float) -> None:
        total = self._schedule.total(self.channels, self.quota, progress)
        earning = earnings(self.importance.values(), self._prices)
        returning = self._config.returning if progress < self._config.end else 0.0
        self.alive = adjusted(self.alive, earning, self._minimum, total, returning)
        self._draws = None
