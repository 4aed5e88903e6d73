"""An urn -> random sub-networks of exactly the quota: how many channels each group keeps, and which.

Where no minimum holds anything back the plain urn is drawn from (numpy's multivariate hypergeometric law, whose means are
p = k m / M and whose covariance is k (M - k) / (M - 1) (diag(q) - q q'), q = m / M). Otherwise each group's minimum is set
aside, and the rest is drawn by the conditional Poisson design whose means are p less the minimum, so that p still is
met exactly: the plain urn of the rest would miss it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.quota.urn.conditional_poisson import Design, sample, solve
from nas.quota.urn.urn import Urn

Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]


class Draws(NamedTuple):
    """An urn made ready for any number of draws. design: None where it is the plain urn."""

    urn: Urn
    design: Design | None

    def counts(self, generator: np.random.Generator, size: int) -> Ints:
        """X, shape (size, groups): each row sums to the quota, and minimum <= X_g <= m_g."""
        balls = np.array(self.urn.balls, np.int64)
        if self.design is None:
            return generator.multivariate_hypergeometric(balls, self.urn.quota, size=size, method="marginals")
        return np.array(self.urn.minimum, np.int64) + sample(self.design, generator, size)


def prepare(urn: Urn, means: NDArray[np.float64] | None = None) -> Draws:
    """Solve for the design of this urn, once: some hundredths of a second for a thousand channels.

    means: p_g, from the minimum to the balls, summing to the quota; None: in proportion to the balls.
    """
    if means is None and not any(urn.minimum):
        return Draws(urn, None)
    minimum = np.array(urn.minimum, np.int64)
    wanted = urn.means() if means is None else means
    return Draws(urn, solve(np.array(urn.balls, np.int64) - minimum, wanted - minimum))


def random_channels(counts: Ints, balls: list[Ints], generator: np.random.Generator) -> list[Ints]:
    """For one draw: `counts[g]` of the surviving channels `balls[g]`, each as likely as any other, in rising order."""
    return [
        np.sort(generator.choice(channels, size=count, replace=False, shuffle=False))
        for channels, count in zip(balls, counts, strict=True)
    ]


def best_channels(counts: Ints, balls: list[Ints], importance: list[NDArray[np.float64]]) -> list[Ints]:
    """For one draw: the `counts[g]` most important of the surviving channels `balls[g]`, in rising order.

    importance: of every channel of the group. Such draws are nested: a smaller sub-network lies inside a larger one, so the
    weights they share are always used together. Of equals the first is taken.
    """
    kept = []
    for channels, count, worth in zip(balls, counts, importance, strict=True):
        order = np.argsort(-worth[channels], kind="stable")
        kept.append(np.sort(channels[order[:count]]))
    return kept
