"""What stands in a training under the quota: mean widths p, balls of the urn m, the order of the channels, and the price.

`adjusted` shrinks the urn towards the quota; at the end it holds exactly that, in whole blocks. With a price other than 1 the
quota is a price: at any time, a network of the mean widths costs no more than it, so the number of channels that are drawn
changes with the widths.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import InputError
from nas.quota.channels.labels import Ints
from nas.quota.channels.slices import Keep
from nas.quota.training.config import QuotaConfig
from nas.quota.training.shrinking import Schedule
from nas.quota.training.widths import Widths, fitted, rounded
from nas.quota.urn.allotment import Allotment, allot, blocks_of
from nas.quota.worth.price import CostOf, Lookup

Floats = NDArray[np.float64]

_SPENT = 1e-9
_CALM = 0.7  # of the mean over the latest adjustments, whose widths swing around the best


def limit_of(config: QuotaConfig, lookup: Lookup, least: Mapping[str, int]) -> float:
    """The quota as a price; InputError where the whole network has none, or where `least`, the minima, cost more."""
    whole, minima = lookup.whole, lookup(least)
    if not math.isfinite(whole):
        hint = "its share has no price; choose a larger processor, a smaller network, or another price"
        raise InputError("quota", "price", "a whole network that fits the processor", "one that does not", hint)
    if minima > config.share * whole * (1 + _SPENT):
        expected = f"{minima / whole:.4g} or more, which the minima of all groups cost"
        hint = (
            f"or a smaller minimum than {config.minimum}, or align than {config.align}, of which widths are multiples"
        )
        raise InputError("quota", "share", expected, config.share, hint)
    return config.share * whole


def refuse_start(config: QuotaConfig, sizes: Mapping[str, int], floor: Mapping[str, int]) -> None:
    """Raise InputError where the urn cannot begin as `config` says. floor: least channels by group, 1 of others."""
    for name, count in (config.start or {}).items():
        known = f"groups: {', '.join(sizes)}"
        if name not in sizes:
            raise InputError("quota", f"start.{name}", "the name of a group that can be cut", repr(name), known)
        if not floor.get(name, 1) <= count <= sizes[name]:
            expected = f"{floor.get(name, 1)} to {sizes[name]} balls of a group that can be cut"
            raise InputError("quota", f"start.{name}", expected, count, known)


class Holding:
    """sizes: n_g, in channels. cost_of: what networks cost, None counts channels.

    widths: p_g, in channels; allotment: the urn, in blocks; floor: of each group, in channels; limit: the quota as a price;
    final: whether the urn holds the quota and no more.
    """

    def __init__(self, sizes: Mapping[str, int], config: QuotaConfig, cost_of: CostOf | None) -> None:
        self._config, self.sizes = config, dict(sizes)
        self.lookup = Lookup(cost_of or (lambda counts: float(sum(counts.values()))), self.sizes, config.align)
        self._least = {name: min(size, self.lookup.aligned(config.minimum)) for name, size in self.sizes.items()}
        self.limit = limit_of(config, self.lookup, self._least)
        self._even = fitted(self.sizes, self.lookup, self.limit, self._least)
        self.floor = self.floor_at(config.floor)
        self.blocks = blocks_of(self.sizes, config.align, self.floor)
        self.widths = self._start(self._even)
        self._calm = dict(self.widths)
        self.allotment = allot(self.blocks, self.widths, int(self.blocks.blocks.sum()))
        self.order: dict[str, Ints] = {name: np.arange(size) for name, size in self.sizes.items()}
        self.final = False
        self._schedule = Schedule(config.begin, config.end)

    def floor_at(self, share: float) -> dict[str, int]:
        """By group this share of the even widths, in whole blocks, and at least the minimum."""
        aligned = self.lookup.aligned
        return {
            name: max(self._least[name], min(aligned(math.ceil(share * width)), aligned(int(width), up=False)))
            for name, width in self._even.items()
        }

    def balls(self) -> dict[str, int]:
        """m_g, in channels."""
        return self.named(self.allotment.balls)

    def named(self, blocks: Ints) -> dict[str, int]:
        """So many blocks of each group, in channels."""
        return dict(zip(self.sizes, self.blocks.channels(blocks).tolist(), strict=True))

    def first(self, counts: Mapping[str, int]) -> Keep:
        """The best channels, so many of each group."""
        return {name: np.sort(self.order[name][:count]) for name, count in counts.items()}

    def sort(self, worth: Mapping[str, Floats], among: Mapping[str, int]) -> None:
        """Put the first `among` of each group in order of worth; who was not drawn since (NaN) cannot be compared."""
        for name, values in worth.items():
            order, count = self.order[name], among[name]
            known = np.nan_to_num(values[order[:count]], nan=np.inf)
            self.order[name] = np.concatenate([order[:count][np.argsort(-known, kind="stable")], order[count:]])

    def rounded(self) -> dict[str, int]:
        """The mean widths in whole blocks."""
        return rounded(self.widths, self.lookup, self.limit, self.floor, self._config.align)

    def adjusted(self, wanted: Mapping[str, float], progress: float, grows: bool = True) -> None:
        """Move p to `wanted`, scaled so that it costs the quota, and shrink the urn as far as it is time to.

        grows: whether a group may have more balls than before.
        """
        before = self.allotment.balls
        if progress >= self._config.begin:
            self.widths = fitted(wanted, self.lookup, self.limit, self.floor)
            self._calm = {name: _CALM * self._calm[name] + (1 - _CALM) * width for name, width in self.widths.items()}
        if progress >= self._config.end:
            self.finish(rounded(self._calm, self.lookup, self.limit, self.floor, self._config.align))
        else:
            total = self._schedule.total(int(self.blocks.blocks.sum()), self.allotment.quota, progress)
            self.allotment = allot(self.blocks, self.widths, total)
        if not grows:
            balls = np.minimum(before, self.allotment.balls)
            self.allotment = self.allotment._replace(balls=balls, means=np.minimum(self.allotment.means, balls))

    def finish(self, counts: Mapping[str, int]) -> None:
        """The urn holds these channels and no more: the draw is the final network."""
        blocks = -(-np.array([counts[name] for name in self.sizes], np.int64) // self._config.align)
        self.widths = {name: float(count) for name, count in counts.items()}
        self.allotment = Allotment(self.blocks, blocks.astype(float), blocks)
        self.final = True

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "limit": self.limit,
            "prices": self.lookup.known(),
            "floor": self.floor,
            "widths": self.widths,
            "calm": self._calm,
            "means": self.allotment.means.tolist(),
            "balls": self.allotment.balls.tolist(),
            "order": {name: order.tolist() for name, order in self.order.items()},
            "final": self.final,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave: prices too, for measured ones are never the same twice."""
        self.limit, self.floor = float(state["limit"]), dict(state["floor"])
        self.lookup.load(state["prices"])
        self.blocks = blocks_of(self.sizes, self._config.align, self.floor)
        self.widths = {name: float(width) for name, width in state["widths"].items()}
        self._calm = {name: float(width) for name, width in state["calm"].items()}
        self.allotment = Allotment(self.blocks, np.array(state["means"], float), np.array(state["balls"], np.int64))
        self.order = {name: np.array(order, np.int64) for name, order in state["order"].items()}
        self.final = state["final"]

    def _start(self, even: Widths) -> Widths:
        """The mean widths that the urn begins with: in proportion to its balls."""
        refuse_start(self._config, self.sizes, self.floor)
        balls = {**self.sizes, **(self._config.start or {})}
        return even if self._config.start is None else fitted(balls, self.lookup, self.limit, self.floor)
