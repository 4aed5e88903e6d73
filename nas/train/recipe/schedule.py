"""Step -> factor of the learning rate, 0 .. 1, as pure functions.

step: 0 .. steps - 1. The factor of the first step is above 0, so that no step is wasted. Everything is a share of the
steps, so that a schedule keeps its shape when a training becomes longer.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from nas.core.errors import InputError
from nas.core.registry import Registry


@dataclass(frozen=True)
class ScheduleShape:
    """What a schedule is made of; each takes what its text names.

    first: factor that a rise begins with. last: lowest factor of a fall along a cosine. rise: share of the steps.
    warm_up: share of the steps in which the factor rises linearly from `first` to 1 before the schedule begins.
    cycles: how often it begins again, itself included. cycle_growth: each cycle is that many times as long as the one
    before. cycle_decay: each cycle's height over `first` is that share of the one before. milestones: shares of the
    steps after which the factor is multiplied by `drop`.
    """

    first: float = 0.04
    last: float = 0.001
    rise: float = 0.25
    warm_up: float = 0.0
    cycles: int = 1
    cycle_growth: float = 1.0
    cycle_decay: float = 1.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    drop: float = 0.1

    def __post_init__(self) -> None:
        for name in ("first", "last", "cycle_decay", "drop"):
            if not 0 < getattr(self, name) <= 1:
                raise _refused(name, "0 < factor <= 1", getattr(self, name))
        for name in ("rise", "warm_up"):
            if not 0 <= getattr(self, name) < 1:
                raise _refused(name, "0 <= share < 1", getattr(self, name))
        if self.cycles < 1:
            raise _refused("cycles", "at least 1", self.cycles)
        if not 1 <= self.cycle_growth <= 100:
            raise _refused("cycle_growth", "1 to 100", self.cycle_growth)
        if not all(0 < share < 1 for share in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise _refused("milestones", "rising shares between 0 and 1", self.milestones)


Schedule = Callable[[int, int, ScheduleShape], float]
SCHEDULES: Registry[Schedule] = Registry("schedule")
_RISE_BY_THEMSELVES = ("one_cycle", "triangular")


def check_schedule(name: str, shape: ScheduleShape) -> None:
    """InputError for an unknown name, and for a warm-up of what rises by itself."""
    SCHEDULES[name]
    if shape.warm_up and name in _RISE_BY_THEMSELVES:
        raise _refused("warm_up", f"0, because {name} rises by itself", shape.warm_up)


def factor(name: str, shape: ScheduleShape, step: int, steps: int) -> float:
    """Of the learning rate at `step`, the warm-up included."""
    warming = round(shape.warm_up * steps)
    if step < warming:
        return shape.first + (1.0 - shape.first) * step / warming
    return SCHEDULES[name](step - warming, steps - warming, shape)


@SCHEDULES.register("one_cycle")
def one_cycle(step: int, steps: int, shape: ScheduleShape) -> float:
    """Rise along a cosine from `first` for the share `rise`, fall along one to `last` (arXiv 1708.07120)."""
    peak = shape.rise * (steps - 1)
    if step < peak:
        return _between(shape.first, 1.0, step / peak)
    return _between(1.0, shape.last, (step - peak) / max(1.0, steps - 1 - peak))


@SCHEDULES.register("triangular")
def triangular(step: int, steps: int, shape: ScheduleShape) -> float:
    """`cycles` times up and down in straight lines between `first` and 1 (L. Smith, arXiv 1506.01186).

    A `cycle_decay` of 0.5 is the paper's triangular2.
    """
    cycle, place = divmod(step * shape.cycles / steps, 1.0)
    height = (1.0 - shape.first) * shape.cycle_decay**cycle
    return shape.first + height * (1.0 - abs(2.0 * place - 1.0))


@SCHEDULES.register("cosine")
def cosine(step: int, steps: int, shape: ScheduleShape) -> float:
    """Fall along half a cosine from 1 to `last`, `cycles` times, each `cycle_growth` as long (arXiv 1608.03983)."""
    ends = list(accumulate(shape.cycle_growth**cycle for cycle in range(shape.cycles)))
    starts = [0, *(round(steps * end / ends[-1]) for end in ends)]
    cycle = min(bisect_right(starts, step) - 1, shape.cycles - 1)
    length = starts[cycle + 1] - starts[cycle]
    if cycle == shape.cycles - 1:
        length -= 1  # the very last step is at the bottom; before a restart the bottom is the restart itself
    return _between(1.0, shape.last, (step - starts[cycle]) / max(1, length))


@SCHEDULES.register("step")
def step_down(step: int, steps: int, shape: ScheduleShape) -> float:
    """1, multiplied by `drop` at each of the `milestones`."""
    return shape.drop ** sum(step >= round(share * steps) for share in shape.milestones)


@SCHEDULES.register("constant")
def constant(step: int, steps: int, shape: ScheduleShape) -> float:
    """1 throughout."""
    del step, steps, shape
    return 1.0


def _between(start: float, end: float, share: float) -> float:
    """From `start` (share 0) to `end` (share 1), flat at both ends."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def _refused(name: str, expected: str, got: object) -> InputError:
    return InputError("trainer.shape", name, expected, got)
