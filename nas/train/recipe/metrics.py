"""A network and images -> its error with a 95 % interval."""

import math
from itertools import islice

import msgspec
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.data.loader import evaluation_batches
from nas.data.source import Split
from nas.train.machine.distributed import Group

_Z = 1.959963984540054  # the normal quantile of a two-sided 95 % interval


class ErrorRate(msgspec.Struct, frozen=True):
    """`errors` wrong answers in `images`; `low` and `high` are the ends of the Wilson score interval, 95 %."""

    errors: int
    images: int

    def __post_init__(self) -> None:
        if not 0 <= self.errors <= self.images or self.images < 1:
            raise ValueError(f"errors must be 0 to images, and images at least 1, got {self.errors} of {self.images}")

    @property
    def rate(self) -> float:
        """The share of wrong answers, 0 .. 1."""
        return self.errors / self.images

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return 0.0 if self.errors == 0 else self._end(-1.0)

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return 1.0 if self.errors == self.images else self._end(1.0)

    def _end(self, side: float) -> float:
        n, p = self.images, self.rate
        centre = p + _Z**2 / (2 * n)
        spread = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return (centre + side * spread) / (1 + _Z**2 / n)

    def __str__(self) -> str:
        return f"{self.rate:.2%} (95 % interval {self.low:.2%} to {self.high:.2%}, {self.images} images)"


def evaluate(
    model: nn.Module,
    split: Split,
    batch_size: int = 512,
    autocast: torch.dtype = torch.float32,
    group: Group | None = None,
) -> ErrorRate:
    """The error of `model` on `split`, in evaluation mode; the model keeps the mode it had.

    autocast: float32 computes as the deployed network does. bfloat16 is faster, and blurs the grids of quantised
    networks a little. group: processes that evaluate together, each some of the batches.
    """
    group = group or Group()
    errors = mistaken(model, split, batch_size, autocast, group).sum()
    return ErrorRate(int(group.sum_(errors)), len(split.labels))


def mistaken(
    model: nn.Module,
    split: Split,
    batch_size: int = 512,
    autocast: torch.dtype = torch.float32,
    group: Group | None = None,
) -> Tensor:
    """Which images `model` takes for something else, bool (n), of the batches of this process; as `evaluate` looks at them."""
    group = group or Group()
    if not len(split.labels):
        raise InputError("evaluation", "images", "at least one image", "none")
    training = model.training
    model.eval()
    found = [torch.zeros(0, dtype=torch.bool, device=split.labels.device)]
    with (
        torch.inference_mode(),
        torch.autocast(split.labels.device.type, dtype=autocast, enabled=autocast != torch.float32),
    ):
        own = islice(evaluation_batches(split, batch_size, channels_last=True), group.rank, None, group.size)
        for images, labels in own:
            found.append(model(images).argmax(1) != labels)
    model.train(training)
    return torch.cat(found)
