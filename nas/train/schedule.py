"""Step -> factor of the learning rate, 0 .. 1, as pure functions.

step: 0 .. steps - 1. The factor of the first step is above 0, so that no step is wasted.
"""

import math
from collections.abc import Callable

from nas.core.registry import Registry

Schedule = Callable[[int, int], float]
SCHEDULES: Registry[Schedule] = Registry("schedule")

_WARM_UP = 0.25  # share of the steps that rise
_FIRST, _LAST = 0.04, 0.001  # factors at both ends


@SCHEDULES.register("one_cycle")
def one_cycle(step: int, steps: int) -> float:
    """Rise along a cosine for a quarter of the steps, fall along one for the rest (arXiv 1708.07120)."""
    peak = _WARM_UP * (steps - 1)
    if step < peak:
        return _between(_FIRST, 1.0, step / peak)
    return _between(1.0, _LAST, (step - peak) / max(1.0, steps - 1 - peak))


@SCHEDULES.register("cosine")
def cosine(step: int, steps: int) -> float:
    """Fall along half a cosine from 1 to nearly 0 (arXiv 1608.03983, without restarts)."""
    return _between(1.0, _LAST, step / max(1, steps - 1))


@SCHEDULES.register("constant")
def constant(step: int, steps: int) -> float:
    """1 throughout."""
    del step, steps
    return 1.0


def _between(start: float, end: float, share: float) -> float:
    """From `start` (share 0) to `end` (share 1), flat at both ends."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
