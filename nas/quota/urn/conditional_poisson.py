"""Balls by colour and wanted means -> draws of a fixed number of balls that have exactly these means.

The design is conditional Poisson sampling (Hájek 1964), of all designs with these means the one of greatest entropy
(Chen, Dempster and Liu 1994); since the balls of a colour are exchangeable, the counts follow Fisher's noncentral
multivariate hypergeometric law, P(y) ~ prod_g C(m_g, y_g) exp(y_g t_g). With equal odds t it is the plain urn. The odds that
give the wanted means have no formula; steps as long as the last one says (Barzilai and Borwein 1988) find them to ten digits.
(Drawing one by one with odds, or the Gumbel top-k trick, is Wallenius' law: its means are off by tens of channels of a
thousand.)

All sums over the ways to draw run in log space from the last colour to the first: exact to rounding for thousands of balls,
where the textbook recursion is not. One table costs (balls x drawn) operations.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from nas.core.errors import ContractError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TOLERANCE = (
    1e-10  # of a mean, or of a channel where that is more: sums of logarithms of thousands of balls round off more
)
_STEPS = 200
_SHORTEST, _LONGEST = 0.5, 8.0  # a step, of what is missing


class Design(NamedTuple):
    """A solved design. balls: m_g; drawn: k; log_odds: t_g; tails: row g, column j is the log of the weighted number of ways to
    draw j balls from the colours g and after; shape (colours + 1, k + 1).
    """

    balls: Ints
    drawn: int
    log_odds: Floats
    tails: Floats


def solve(balls: Ints, means: Floats) -> Design:
    """The design with these means, 0 <= means <= balls, whose sum is the whole number to be drawn."""
    drawn = round(float(means.sum()))
    if abs(means.sum() - drawn) > 1e-6 or (means < -1e-9).any() or (means > balls + 1e-9).any():
        raise ContractError(f"means {means.tolist()} cannot be those of whole draws from {balls.tolist()} balls")
    log_odds = np.zeros(len(balls))
    free = (means > _TOLERANCE) & (means < balls - _TOLERANCE)
    log_odds[means <= _TOLERANCE], log_odds[means >= balls - _TOLERANCE] = -np.inf, np.inf
    share = np.clip(means / np.maximum(balls, 1), 1e-15, 1 - 1e-15)
    wanted = np.log(share) - np.log1p(-share)
    log_odds[free] = wanted[free]
    before: tuple[Floats, Floats] | None = None  # the move of the last step, and what was missing then
    for _ in range(_STEPS):
        design = Design(balls, drawn, log_odds, _tails(balls, drawn, log_odds))
        have = np.clip(moments(design) / np.maximum(balls, 1), 1e-15, 1 - 1e-15)
        if (np.abs(have * balls - means) < _TOLERANCE * np.maximum(means, 1.0))[free].all():
            return design
        missing = (wanted - np.log(have) + np.log1p(-have))[free]
        missing -= missing.mean()  # only the ratios of odds matter
        move = missing if before is None else _factor(*before, missing) * missing
        before = move, missing
        log_odds = log_odds.copy()
        log_odds[free] += move
    raise ContractError(f"no odds found for means {means.tolist()} of {balls.tolist()} balls")


def _factor(move: Floats, missed: Floats, missing: Floats) -> float:
    """How far to go for what is missing, if `move` made that of what was missed.

    Near the goal the means of few groups of few balls move by up to twice what was meant, as no count varies by more than that of
    draws with replacement: a half is never too far.
    """
    curvature = move @ (missed - missing)
    return float(np.clip(move @ move / curvature, _SHORTEST, _LONGEST)) if curvature > 0 else 1.0


def moments(design: Design) -> Floats:
    """The exact means of the counts, shape (colours,)."""
    means = np.zeros(len(design.balls))
    left = np.full(design.drawn + 1, -np.inf)  # log probability that j balls are left to be drawn
    left[design.drawn] = 0.0
    for colour, balls in enumerate(design.balls):
        after, flow = design.tails[colour + 1], np.full(design.drawn + 1, -np.inf)
        weights = _weights(int(balls), design.log_odds[colour])
        for count in range(min(int(balls), design.drawn) + 1):
            stop = design.drawn + 1 - count
            with np.errstate(invalid="ignore"):
                joint = left[count:] + weights[count] + after[:stop] - design.tails[colour, count:]
            joint = np.where(np.isnan(joint), -np.inf, joint)
            means[colour] += count * np.exp(joint).sum()
            flow[:stop] = np.logaddexp(flow[:stop], joint)
        left = flow
    return means


def sample(design: Design, generator: np.random.Generator, size: int) -> Ints:
    """`size` independent draws as counts, shape (size, colours); each row sums to the number drawn."""
    counts = np.zeros((size, len(design.balls)), np.int64)
    left = np.full(size, design.drawn)
    points = generator.random((len(design.balls), size))
    for colour, balls in enumerate(design.balls):
        choices = np.arange(min(int(balls), design.drawn) + 1)
        weights = _weights(int(balls), design.log_odds[colour])[choices]
        for have in np.unique(left):  # few: many draws have as many balls left
            rest = have - choices[choices <= have]
            logs = weights[: len(rest)] + design.tails[colour + 1][rest]
            cumulative = np.exp(logs - logs.max()).cumsum()
            chosen = left == have
            counts[chosen, colour] = np.searchsorted(cumulative, points[colour, chosen] * cumulative[-1], side="right")
        left = left - counts[:, colour]
    return counts


def _tails(balls: Ints, drawn: int, log_odds: Floats) -> Floats:
    tails = np.full((len(balls) + 1, drawn + 1), -np.inf)
    tails[len(balls), 0] = 0.0
    for colour in reversed(range(len(balls))):
        weights, after = _weights(int(balls[colour]), log_odds[colour]), tails[colour + 1]
        row = tails[colour]
        for count in range(min(int(balls[colour]), drawn) + 1):
            np.logaddexp(row[count:], weights[count] + after[: drawn + 1 - count], out=row[count:])
    return tails


def _weights(balls: int, log_odds: float) -> Floats:
    """log C(m, y) + t y for y = 0 .. m; odds of 0 and infinity draw none and all."""
    counts = np.arange(balls + 1)
    if np.isinf(log_odds):
        only = 0 if log_odds < 0 else balls
        return np.where(counts == only, 0.0, -np.inf)
    weights: Floats = gammaln(balls + 1) - gammaln(counts + 1) - gammaln(balls - counts + 1) + log_odds * counts
    return weights
