"""Some runs' numbers -> their mean, and how far another run is to be expected from it."""

import math
import statistics
from collections.abc import Sequence

import msgspec
from scipy.stats import t

_CONFIDENCE = 0.95


class Mean(msgspec.Struct, frozen=True):
    """half: of the mean's 95 % interval by Student's t, NaN for a single run."""

    value: float
    half: float

    def overlaps(self, other: "Mean") -> bool:
        """Whether the two intervals have a point in common; an unknown one has."""
        return not abs(self.value - other.value) > self.half + other.half

    def percent(self) -> str:
        """As text, times a hundred."""
        interval = "" if math.isnan(self.half) else f" ± {100 * self.half:.2f}"
        return f"{100 * self.value:.2f}{interval}"


def mean_of(values: Sequence[float]) -> Mean:
    """Of at least one value."""
    if len(values) < 2:
        return Mean(values[0], math.nan)
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return Mean(statistics.fmean(values), float(t.ppf(0.5 + _CONFIDENCE / 2, len(values) - 1)) * spread)
