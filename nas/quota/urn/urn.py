"""The surviving channels of a network as coloured balls in an urn, and how many of them a draw takes: the quota.

A group g is a set of channels that may be exchanged for one another, such as the outputs of one layer; it is a colour.
With m_g balls of n_g channels, M balls in all and the quota k, a draw keeps p_g = k m_g / M channels of g in the mean,
but never fewer than the group's minimum, for a layer without channels computes nothing.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.core.errors import InputError


class Urn(msgspec.Struct, frozen=True):
    """names: of the groups; channels: n_g; balls: m_g, at most n_g; minimum: r_g, at most m_g; quota: k, from the sum of the
    minima to the number of balls. Raises InputError for what could not be drawn from.
    """

    names: tuple[str, ...]
    channels: tuple[int, ...]
    balls: tuple[int, ...]
    minimum: tuple[int, ...]
    quota: int

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.channels) == len(self.balls) == len(self.minimum):
            counts = [len(self.names), len(self.channels), len(self.balls), len(self.minimum)]
            raise InputError("urn", "", "as many names, channels, balls and minima", counts)
        rows = zip(self.names, self.channels, self.balls, self.minimum, strict=True)
        for name, channels, balls, minimum in rows:
            if not 0 <= minimum <= balls <= channels:
                raise InputError("urn", name, f"{minimum} (its minimum) to {channels} (its channels) balls", balls)
        if not sum(self.minimum) <= self.quota <= self.total:
            expected = f"{sum(self.minimum)} (the groups' minima) to {self.total} (balls)"
            raise InputError("urn", "quota", expected, self.quota, "change the quota, the minimum or the balls")

    @property
    def total(self) -> int:
        """M, the balls of all groups."""
        return sum(self.balls)

    def means(self) -> NDArray[np.float64]:
        """p_g, shape (groups,), summing to the quota: in proportion to the balls, but at least the minimum.

        What the minima take beyond their share, the other groups give in proportion.
        """
        balls, minimum = np.array(self.balls, float), np.array(self.minimum, float)
        means = np.zeros(len(balls))
        free = np.ones(len(balls), bool)
        while True:
            left = self.quota - minimum[~free].sum()
            means[~free] = minimum[~free]
            means[free] = left * balls[free] / max(balls[free].sum(), 1)
            short = free & (means < minimum)
            if not short.any():
                return means
            free &= ~short

    def moved(self, change: Sequence[int]) -> "Urn":
        """The urn after `change` balls were put into (or, if negative, taken out of) each group."""
        balls = tuple(have + more for have, more in zip(self.balls, change, strict=True))
        return msgspec.structs.replace(self, balls=balls)


def full_urn(names: Sequence[str], channels: Sequence[int], quota: int, minimum: int = 1) -> Urn:
    """Every channel is in: m = n, the widest exploration."""
    minima = tuple(min(minimum, count) for count in channels)
    return Urn(tuple(names), tuple(channels), tuple(channels), minima, quota)
