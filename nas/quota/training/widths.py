"""How the quota is spread over the groups: p_g channels of each in the mean, so that a network of these widths costs the quota.

    fitted    scaled by one factor until the price of the network is the quota
    moved     towards groups that earn more for their price, no further than the draws have looked
    best_of   as many of the best-earning channels of all groups as the quota pays for
    rounded   to whole aligned widths, the quota spent on what earns most

Prices are marginal ones at the present widths, of a table. They cannot run away, as prices that were set on thin layers do
where importance is a sum over channels: what a thin layer earns is measured on it too, and grows as it thins; each move
is bounded by the draws' spread; and no group falls below its floor.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import InputError
from nas.core.units import ceil_div
from nas.quota.worth.price import Lookup

Floats = NDArray[np.float64]
Widths = dict[str, float]  # by group

_HALVINGS = 40
_SPENT = 1e-9


def fitted(widths: Mapping[str, float], lookup: Lookup, limit: float, floor: Mapping[str, int]) -> Widths:
    """`widths` times one factor, within the floors and the sizes, at the greatest cost that is no more than `limit`.

    Raises InputError where even the floors cost more.
    """

    def scaled(logarithm: float) -> Widths:
        factor = float(np.exp(logarithm))
        return {
            name: float(min(max(floor[name], width * factor), lookup.sizes[name])) for name, width in widths.items()
        }

    if _price(floor, lookup) > limit * (1 + _SPENT):
        raise InputError(
            "quota", "share", f"a quota of at least {_price(floor, lookup):g}, the price of the minima", limit
        )
    return _largest(scaled, lambda widths: _price(widths, lookup) <= limit * (1 + _SPENT))


def moved(
    widths: Mapping[str, float], earning: Mapping[str, float], errors: Mapping[str, float], prices: Mapping[str, float],
    reach: Mapping[str, float],
) -> Widths:  # fmt: skip
    """Widths after one adjustment.

    earning: of one more channel, by group, what the loss falls; errors: their standard errors; prices: of one more channel;
    reach: the furthest that a width may move. Nothing moves where nothing is known for sure.
    """
    names = list(widths)
    ratio = np.array([earning[name] / prices[name] for name in names])
    noise = np.array([errors[name] / prices[name] for name in names])
    weight = np.array([widths[name] * prices[name] for name in names])
    away = ratio - np.average(ratio, weights=weight)
    spread = float(np.sqrt(np.average(away**2, weights=weight)))
    push = np.clip(away / np.maximum(np.sqrt(spread**2 + 4 * noise**2), 1e-300), -1, 1)
    return {name: widths[name] + reach[name] * float(step) for name, step in zip(names, push, strict=True)}


def best_of(earning: Mapping[str, Floats], lookup: Lookup, limit: float, floor: Mapping[str, int]) -> Widths:
    """Channels of all groups by what each earns for its price, best first, as many as cost no more than `limit`.

    earning: of every channel; NaN, of those that nobody has seen, counts as the most. Floors come first.
    """
    names = list(earning)
    group = np.concatenate([np.full(len(earning[name]), index) for index, name in enumerate(names)])
    order = np.argsort(-np.concatenate([np.nan_to_num(earning[name], nan=np.inf) for name in names]), kind="stable")
    place = np.empty(len(order), np.int64)
    for index, name in enumerate(names):
        own = order[group[order] == index]
        place[own] = np.where(np.arange(len(own)) < floor[name], -1, 0)
    order = order[np.argsort(place[order], kind="stable")]
    least = sum(floor[name] for name in names)

    def first(count: float) -> Widths:
        taken = np.bincount(group[order[: int(count)]], minlength=len(names))
        return {name: float(have) for name, have in zip(names, taken, strict=True)}

    low, high = least, len(order)
    while low < high:  # the largest number that the quota pays for
        middle = (low + high + 1) // 2
        if _price(first(middle), lookup) <= limit * (1 + _SPENT):
            low = middle
        else:
            high = middle - 1
    return first(low)


def rounded(
    widths: Mapping[str, float], lookup: Lookup, limit: float, floor: Mapping[str, int], align: int
) -> dict[str, int]:
    """Whole widths near `widths`, multiples of `align` (or the group's size), that cost no more than `limit`.

    All are rounded down, and blocks are given back, to the group that lacks the most of its own for the price, while they fit:
    none gets more than the block that its width ends in, however cheap its channels are.
    """
    sizes = lookup.sizes
    counts = {name: _down(width, align, floor[name], sizes[name]) for name, width in widths.items()}
    while _price(counts, lookup) > limit * (1 + _SPENT):  # floors were rounded up
        excess = {name: (counts[name] - align) / widths[name] for name in counts if counts[name] - align >= floor[name]}
        if not excess:
            break
        counts[max(excess, key=lambda name: excess[name])] -= align
    while True:
        lacking, now = {}, _price(counts, lookup)
        for name, width in widths.items():
            more = min(sizes[name], (counts[name] // align + 1) * align)
            lacks = counts[name] < min(width, more)
            price = _price({**counts, name: more}, lookup) if lacks else math.inf
            if price <= limit * (1 + _SPENT):
                lacking[name] = ((width - counts[name]) / width / max(price - now, _SPENT * limit), more)
        if not lacking:
            return counts
        chosen = max(lacking, key=lambda name: lacking[name][0])
        counts[chosen] = lacking[chosen][1]


def _down(width: float, align: int, floor: int, size: int) -> int:
    return min(size, max(int((width + 1e-6) // align) * align, ceil_div(floor, align) * align))


def _price(widths: Mapping[str, float], lookup: Lookup) -> float:
    """Of mean widths: between those of the blocks below and above, so that a number of channels is exactly their sum."""
    low = {name: lookup.aligned(int(width + 1e-9), up=False) for name, width in widths.items()}
    low = {name: min(max(count, 1), lookup.sizes[name]) for name, count in low.items()}
    high = {name: min(lookup.sizes[name], lookup.aligned(math.ceil(width - 1e-9))) for name, width in widths.items()}
    room = sum(high.values()) - sum(low.values())
    share = min(1.0, max(0.0, (sum(widths.values()) - sum(low.values())) / room)) if room > 0 else 0.0
    below = lookup(low)
    return below + (share * (lookup(high) - below) if share else 0.0)


def _largest(widths_of: Callable[[float], Widths], fits: Callable[[Widths], bool]) -> Widths:
    """The widths of the largest logarithm of the factor that fits; more of it is wider."""
    low, high = -12.0, 12.0
    if fits(widths_of(high)):
        return widths_of(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(widths_of(middle)) else (low, middle)
    return widths_of(low)
