"""Who takes part in a training besides the network and the images; all of them may stay away."""

from collections.abc import Callable
from dataclasses import dataclass, field

from nas.train.observer import Observer, Observers
from nas.train.recipe.distillation import Teacher
from nas.train.recipe.stepper import MakeStepper

ShouldStop = Callable[[int, float], bool]


@dataclass(frozen=True)
class Options:
    """observer: is told how it goes. should_stop: asked after each evaluation with the step and the error rate.

    teacher: the network learns from it too; a run that is resumed must have the same one. stepper: makes what trains
    at each step, where that is not simply the network.
    """

    observer: Observer = field(default_factory=Observers)
    should_stop: ShouldStop | None = None
    teacher: Teacher | None = None
    stepper: MakeStepper | None = None
