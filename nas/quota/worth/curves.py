"""What each group loses at each width -> the widths that lose least altogether, for the price.

The loss of a network whose channels have handed over what they did (`nas.quota.worth.stand_in`) grows in proportion to what its
groups' readers lose: loss = base + sum_g weight_g * lost_g(X_g). The weights are found from the losses of drawn networks; a
shape, a factor of six in what is lost, was predicted to 0.01 of the loss. As a curve is known at every width, and not its
slope at one, p can go to its best place at once.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.core.units import ceil_div
from nas.quota.worth.price import Lookup

Floats = NDArray[np.float64]
Curves = Mapping[str, Floats]  # by group, what is lost with 0 .. n of its channels

_ROUNDS, _HALVINGS, _EXCHANGES = 4, 10, 40  # each asks for a price, which takes some hundredths of a second
_WIDER = 1.6  # of a width, in one round: prices are marginal ones
_SPENT = 1e-9
_UNEVEN = 4.0  # the furthest that a group's weight is from that of all


def weights_of(lost: Floats, losses: Floats) -> Floats:
    """How much of the loss each group's lost share makes, by least squares drawn towards one number for all.

    lost: of each draw and group; losses: of each draw. All 1 where the losses say nothing.
    """
    draws, groups = lost.shape
    if draws < 3 or not np.ptp(losses) > 0:
        return np.ones(groups)
    total = lost.sum(1) - lost.sum(1).mean()
    wanted = losses - losses.mean()
    common = float(total @ wanted) / max(float(total @ total), 1e-300)
    if common <= 0:
        return np.ones(groups)
    centred = lost - lost.mean(0)
    rest = wanted - common * total
    noise = float(rest @ rest) / max(1, draws - 2)
    own = np.linalg.solve(centred.T @ centred + (noise / common**2 + 1e-12) * np.eye(groups), centred.T @ rest)
    found: Floats = np.clip(common + own, common / _UNEVEN, common * _UNEVEN) / common
    return found


def best_widths(
    curves: Curves, start: Mapping[str, int], lookup: Lookup, limit: float, floor: Mapping[str, int],
    align: int,
) -> dict[str, int]:  # fmt: skip
    """Aligned widths that cost no more than `limit`, as `start` does, and lose the least that was found.

    Lagrange's condition at the marginal prices, then exchanges of blocks.
    """
    best = dict(start)
    for _ in range(_ROUNDS):
        prices, low, high = lookup.marginal(best), -40.0, 20.0
        found = None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            tried = {
                name: _least(curve, _choices(best[name], lookup.sizes[name], floor[name], align), np.exp(middle) * prices[name])
                for name, curve in curves.items()
            }  # fmt: skip
            if lookup(tried) <= limit * (1 + _SPENT):
                found, high = tried, middle
            else:
                low = middle
        if found is None or _lost(curves, found) >= _lost(curves, best) * (1 - 1e-3):
            break
        best = found
    asked = 0
    while True:
        moves = sorted(
            _exchanges(curves, best, lookup.sizes, floor, align), key=lambda move: _lost(curves, {**best, **move})
        )
        for move in moves:
            asked += 1
            if asked > _EXCHANGES or _lost(curves, {**best, **move}) >= _lost(curves, best):
                return best
            if lookup({**best, **move}) <= limit * (1 + _SPENT):
                best = {**best, **move}
                break
        else:
            return best


def _choices(width: int, size: int, floor: int, align: int) -> Sequence[int]:
    """Whole blocks not far from `width`, or the whole group."""
    low = max(floor, min(width - align, int(width / _WIDER)))
    high = min(size, max(width + align, int(width * _WIDER)))
    blocks = range(ceil_div(low, align) * align, high + 1, align)
    return [*blocks, size] if high == size and (not blocks or blocks[-1] != size) else blocks


def _least(curve: Floats, choices: Sequence[int], price: float) -> int:
    places = np.asarray(choices)
    return int(places[int(np.argmin(curve[places] + price * places))])


def _exchanges(
    curves: Curves, widths: Mapping[str, int], sizes: Mapping[str, int], floor: Mapping[str, int], align: int
) -> list[dict[str, int]]:  # fmt: skip
    """A block or two more of one group, for a block or two less of another or for nothing."""
    more = [
        {name: min(sizes[name], (widths[name] // align + blocks) * align)}
        for name in curves for blocks in (1, 2) if widths[name] < sizes[name]
    ]  # fmt: skip
    less: list[dict[str, int]] = [
        {name: (ceil_div(widths[name], align) - blocks) * align}
        for name in curves for blocks in (1, 2) if (ceil_div(widths[name], align) - blocks) * align >= floor[name]
    ]  # fmt: skip
    return [{**down, **up} for up in more for down in [{}, *less] if not set(up) & set(down)]


def _lost(curves: Curves, widths: Mapping[str, int]) -> float:
    return sum(float(curve[widths[name]]) for name, curve in curves.items())
