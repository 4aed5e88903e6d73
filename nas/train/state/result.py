"""What a training leaves behind, as plain values."""

import msgspec

from nas.core.errors import CoevoError
from nas.train.recipe.metrics import ErrorRate


class CurvePoint(msgspec.Struct, frozen=True):
    """After `step` steps: the mean training loss since the point before, and the validation error."""

    step: int
    loss: float
    error: ErrorRate


class TrainResult(msgspec.Struct, frozen=True):
    """error: of the validation images, in float32. seconds, processor_s: over all sessions, evaluation included.

    images_per_s: of this session's training steps alone, 0 if it had none. stopped: before the last step.
    """

    error: ErrorRate
    curve: tuple[CurvePoint, ...]
    images_per_s: float
    seconds: float
    steps: int
    parameters: int
    stopped: bool = False
    processor_s: float = 0.0


class DivergedError(CoevoError):
    """The training loss is no finite number any more."""
