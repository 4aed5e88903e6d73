"""What channels earn -> which of them stay in the urn: the quota adjusts itself.

At every adjustment the urn shrinks to the number of balls that the schedule says. The channels with the least earning
(importance over price) of all groups go, but no group falls below its minimum; and some that had gone come back, if they
earned more when last seen than what would stay instead of them. A channel that was never seen is not judged: it stays.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import InputError
from nas.quota.urn import Urn

Floats = NDArray[np.float64]
Alive = dict[str, NDArray[np.bool_]]  # by group: which of its channels are in the urn


class Schedule(NamedTuple):
    """How the urn shrinks from all N channels to the quota: not before `begin`, done at `end` (shares of the training)."""

    begin: float = 0.1
    end: float = 0.6

    def total(self, channels: int, quota: int, progress: float) -> int:
        """M, the balls at this share of the training: along half a cosine, so that it starts and ends gently."""
        share = min(1.0, max(0.0, (progress - self.begin) / max(self.end - self.begin, 1e-9)))
        return quota + math.ceil((channels - quota) * 0.5 * (1 + math.cos(math.pi * share)) - 1e-9)


def adjusted(
    alive: Alive, earning: Mapping[str, Floats], minimum: Mapping[str, int], total: int, returning: float = 0.1
) -> Alive:
    """The channels of an urn of `total` balls.

    earning: of every channel, NaN where unknown; returning: at most this share of the present balls may be exchanged
    for channels that had gone. Raises InputError where the minima are more than `total`. Deterministic: of equal
    channels the first of the first group stays.
    """
    least = sum(minimum[name] for name in alive)
    if total < least:
        raise InputError("quota", "total", f"at least the groups' minima, {least}", total)
    names = list(alive)
    group = np.concatenate([np.full(len(alive[name]), index) for index, name in enumerate(names)])
    inside = np.concatenate([alive[name] for name in names])
    worth = np.concatenate([np.nan_to_num(earning[name], nan=np.inf) for name in names])
    worth = np.where(inside | np.isfinite(worth), worth, -np.inf)  # gone and never seen: nothing speaks for it
    back = _best_outside(inside, worth, int(returning * inside.sum()))
    pool = inside.copy()
    pool[back] = True
    stays = np.zeros_like(pool)
    order = np.argsort(-worth, kind="stable")
    order = order[pool[order]]
    for index, name in enumerate(names):  # the minima first, then the best of all
        stays[order[group[order] == index][: minimum[name]]] = True
    rest = order[~stays[order]]
    stays[rest[: total - int(stays.sum())]] = True
    return {name: stays[group == index] for index, name in enumerate(names)}


def urn_of(alive: Alive, minimum: Mapping[str, int], quota: int) -> Urn:
    """The urn whose balls are these channels."""
    names = tuple(alive)
    return Urn(
        names=names,
        channels=tuple(len(alive[name]) for name in names),
        balls=tuple(int(alive[name].sum()) for name in names),
        minimum=tuple(minimum[name] for name in names),
        quota=quota,
    )


def earnings(importance: Mapping[str, Floats], prices: Mapping[str, float]) -> dict[str, Floats]:
    """Importance over price, by group. A price is what one channel of the group costs, above 0: 1, parameters, cycles."""
    for name in importance:
        if not prices.get(name, 0) > 0:
            raise InputError("quota", f"price of {name}", "a number above 0", prices.get(name))
    return {name: values / prices[name] for name, values in importance.items()}


def _best_outside(inside: NDArray[np.bool_], worth: Floats, count: int) -> Sequence[int]:
    outside = np.flatnonzero(~inside & np.isfinite(worth))
    found: list[int] = outside[np.argsort(-worth[outside], kind="stable")][:count].tolist()
    return found
