"""A batch -> the same batch on smaller images, at first: progressive resizing.

The side grows in a straight line from `begin` of the whole to the whole at `until` of the steps, in eighths of it, so that
there are few shapes to make kernels for. A convolution's work goes with the square of the side, and what is learnt on small
images holds on large ones, if the last steps see them whole (M. Tan, Q. Le, arXiv 2104.00298, section 4, there with other
augmentation as the side grows; J. Howard's entry to DAWNBench, 2018).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import InputError

_SIZES = 8


@dataclass(frozen=True)
class ResizeConfig:
    """begin: share of the side at the first step; 1 is off. until: share of the steps after which images are whole."""

    begin: float = 1.0
    until: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.begin <= 1:
            raise InputError("trainer.resize", "begin", "0 < share <= 1", self.begin)
        if not 0 < self.until < 1:
            raise InputError(
                "trainer.resize", "until", "0 < share < 1, for the last steps see whole images", self.until
            )

    def share(self, step: int, steps: int) -> float:
        """Of the side, at `step` of 0 .. steps - 1: a multiple of 1/8."""
        grown = min(1.0, step / (self.until * steps))
        return max(1, round(_SIZES * (self.begin + (1.0 - self.begin) * grown))) / _SIZES


def resized(images: Tensor, share: float) -> Tensor:
    """images: (b, c, h, w), float, which keep their layout; pixels are averaged, not dropped."""
    if share == 1.0:
        return images
    size = [_side_px(side, share) for side in images.shape[2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def check_sizes(model: nn.Module, images: Tensor, config: ResizeConfig) -> None:
    """InputError where `model` cannot take every size that `images`, (b, c, h, w), will come in; it is not changed."""
    training = model.training
    model.eval()
    try:
        for eighths in range(round(_SIZES * config.share(0, 1)), _SIZES):
            _check(model, torch.zeros_like(images[:1], dtype=torch.float32), eighths / _SIZES)
    finally:
        model.train(training)


@torch.no_grad()
def _check(model: nn.Module, image: Tensor, share: float) -> None:
    small = resized(image, share)
    try:
        model(small)
    except RuntimeError as error:  # what torch raises for shapes that do not fit
        expected = f"1 for a network that cannot take images of {'x'.join(map(str, small.shape[2:]))}"
        raise InputError("trainer.resize", "begin", expected, f"a smaller one ({error})") from error


def _side_px(side: int, share: float) -> int:
    return max(1, round(side * share))
