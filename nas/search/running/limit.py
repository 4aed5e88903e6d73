"""The latency limit that suits a processor: `auto` in constraints.latency_s and reference.latency_s -> seconds.

What is fast on one processor is out of reach on another, so `auto` is what most networks of the space keep to there, found
from a seeded random sample that is compiled and simulated, but not trained.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nas.core.errors import InputError, listed
from nas.core.seeding import stream
from nas.core.units import rounded_up, si
from nas.search.sampling.proposal import Price
from nas.search.trials.space import Space

AUTO = "auto"
_SAMPLE = 24  # random networks: some seconds for all of them
_SHARE = 0.9  # of the networks that run at all keep to the limit


class FoundLimit(NamedTuple):
    """words: where the limit comes from, for people."""

    latency_s: float
    words: str = ""


def found_limit(space: Space, price: Price, seed: int) -> FoundLimit:
    """The limit that nine of ten random networks keep to, rounded up to two digits. InputError where none of them runs."""
    costs = [price(space.random(stream(seed, "limit", index))) for index in range(_SAMPLE)]
    latencies_s = [cost.latency_s for cost in costs if cost is not None]
    if not latencies_s:
        expected = f"a processor that runs at least one of {_SAMPLE} random networks of the space"
        raise InputError("hardware", "", expected, "none that fits", "more SRAM, or another space")
    limit_s = rounded_up(float(np.quantile(latencies_s, _SHARE)))
    between = f"{si(min(latencies_s), 's')} to {si(max(latencies_s), 's')}"
    return FoundLimit(limit_s, f"which {_SHARE:.0%} of {len(latencies_s)} random networks keep to ({between})")


def with_latency(chosen: Mapping[str, Any], auto: Callable[[], FoundLimit]) -> dict[str, Any]:
    """`chosen` with seconds for every `auto` in `limits` and `reference`, and where they were found in `limit_found`.

    A reference that is `auto` follows the limit; where there is none, it is what the limit would have been.
    """
    limits, reference, words = dict(chosen["limits"]), dict(chosen["reference"]), ""
    _check("constraints", limits["latency_s"], AUTO, None)
    _check("reference", reference["latency_s"], AUTO)
    if limits["latency_s"] == AUTO:
        limits["latency_s"], words = auto()
    if reference["latency_s"] == AUTO:
        limit_s = limits["latency_s"]
        reference["latency_s"] = auto().latency_s if limit_s is None else float(limit_s)
    return {**chosen, "limits": limits, "reference": reference, "limit_found": words}


def _check(where: str, latency_s: object, *words: str | None) -> None:
    if latency_s in words:
        return
    if isinstance(latency_s, bool) or not isinstance(latency_s, int | float) or not latency_s > 0:
        choices = ["seconds above 0 such as 5e-5", AUTO, *(["null for no limit"] if None in words else [])]
        raise InputError(where, "latency_s", listed(choices), repr(latency_s))
