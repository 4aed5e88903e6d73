"""How a network is trained, as one frozen value: conf/trainer says what each choice costs."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from nas.core.errors import InputError
from nas.data.augment import AugmentConfig
from nas.train.recipe.early_stop import EarlyStopConfig
from nas.train.recipe.mixing import MixConfig
from nas.train.recipe.optimizer import OptimizerName
from nas.train.recipe.precision import Precision
from nas.train.recipe.schedule import ScheduleShape, check_schedule


@dataclass(frozen=True)
class TrainConfig:
    """epochs may be a fraction. batch_size: images of a step of the optimiser, computed in `accumulate` equal parts.

    learning_rate is the schedule's peak. momentum: of SGD (Nesterov). weight_decay spares norms and biases. ema_decay: of
    the averaged weights, which are then the result; 0 is off. clip_norm: largest norm of all gradients together; 0 is off.
    precision, channels_last, device: "auto" takes what is fastest here. evaluate_every_epochs: 0 evaluates at the end
    only. checkpoint_every_s: 0 saves at the end only. augment: None trains on the images as they are.
    """

    epochs: float = 4.0
    batch_size: int = 128
    accumulate: int = 1
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.02
    schedule: str = "one_cycle"
    shape: ScheduleShape = field(default_factory=ScheduleShape)
    label_smoothing: float = 0.0
    mix: MixConfig = field(default_factory=MixConfig)
    ema_decay: float = 0.0
    clip_norm: float = 0.0
    early_stop: EarlyStopConfig = field(default_factory=EarlyStopConfig)
    precision: Precision = "auto"
    compile: bool = False
    channels_last: bool | Literal["auto"] = "auto"
    device: str = "auto"
    evaluate_every_epochs: float = 1.0
    checkpoint_every_s: float = 60.0
    seed: int = 0
    augment: AugmentConfig | None = None

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("learning_rate", self.learning_rate)):
            if not 0 < value < math.inf:
                raise InputError("trainer", name, "a finite number above 0", value)
        for name in ("weight_decay", "clip_norm", "evaluate_every_epochs", "checkpoint_every_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError("trainer", name, "a finite number, 0 or more", getattr(self, name))
        if not 0 <= self.momentum < 1:
            raise InputError("trainer", "momentum", "0 <= momentum < 1", self.momentum)
        if not 0 <= self.ema_decay < 1:
            raise InputError("trainer", "ema_decay", "0 <= decay < 1", self.ema_decay)
        if self.batch_size < 2:
            raise InputError("trainer", "batch_size", "at least 2, for the batch norms", self.batch_size)
        if self.accumulate < 1 or self.batch_size % self.accumulate or self.batch_size // self.accumulate < 2:
            expected = f"a divisor of batch_size {self.batch_size} that leaves 2 images or more"
            raise InputError("trainer", "accumulate", expected, self.accumulate)
        if not 0 <= self.label_smoothing < 1:
            raise InputError("trainer", "label_smoothing", "0 <= share < 1", self.label_smoothing)
        check_schedule(self.schedule, self.shape)

    def identity(self) -> dict[str, Any]:
        """What two sessions of one run have in common, as plain data: not how often it is saved, and where it is computed."""
        free = ("checkpoint_every_s", "device", "compile")
        return {name: value for name, value in msgspec.to_builtins(self).items() if name not in free}
