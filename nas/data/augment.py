"""A batch of images -> the same batch, each image a little moved, mirrored or with a rectangle rubbed out.

All of it happens on the images' device, for the whole batch at once, with random numbers of the given generator.
Erasing: Z. Zhong et al., "Random Erasing Data Augmentation", arXiv 1708.04896; T. DeVries, "Cutout", arXiv 1708.04552.
We fill with mid grey.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nas.core.errors import InputError

_AREA = (0.02, 0.4)  # of a random rectangle, as shares of the image
_ASPECT = 1.0 / 0.3  # of its sides, at most


@dataclass(frozen=True)
class AugmentConfig:
    """shift_px: largest move in x and in y.  shift_fill: what comes in at the border: its edge repeated, a reflection, black.

    With black it is the random crop of a padded image. flip_probability: of mirroring left to right; leave it at 0 where
    a mirrored picture means something else. erase_probability: of a grey rectangle, which may reach beyond the image.
    erase_shape: a square of side erase_px (Cutout), or the random rectangle of Random Erasing: 2 to 40 % of the image, one
    side 0.3 to 3.3 times the other.
    """

    shift_px: int = 0
    shift_fill: Literal["edge", "reflect", "black"] = "edge"
    flip_probability: float = 0.0
    erase_probability: float = 0.0
    erase_shape: Literal["square", "random"] = "square"
    erase_px: int = 8

    def __post_init__(self) -> None:
        for name in ("flip_probability", "erase_probability"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError("augment", name, "0 to 1", getattr(self, name))
        for name, least in (("shift_px", 0), ("erase_px", 1)):
            if getattr(self, name) < least:
                raise InputError("augment", name, f"at least {least}", getattr(self, name))


def augment(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """`images` (b, c, h, w), uint8 or float in [0, 1], augmented; `generator` must live on their device."""
    if config.shift_px or config.flip_probability:
        images = _move(images, config, generator)
    if config.erase_probability:
        images = _erase(images, config, generator)
    return images


def _move(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Shift and mirror with one gather; the result lies channels-last, as convolutions like it."""
    count, _, height, width = images.shape
    if config.shift_px >= min(height, width):
        raise InputError("augment", "shift_px", f"less than the image's {min(height, width)} px", config.shift_px)
    device = images.device
    shifts = torch.randint(-config.shift_px, config.shift_px + 1, (2, count, 1), generator=generator, device=device)
    down, right = (
        torch.arange(size, device=device) + shift for size, shift in zip((height, width), shifts, strict=True)
    )
    outside = None
    if config.shift_fill == "black":
        outside = (_is_outside(down, height)[:, :, None] | _is_outside(right, width)[:, None, :])[:, None]
    rows, columns = _inside(down, height, config.shift_fill), _inside(right, width, config.shift_fill)
    mirrored = torch.rand((count, 1), generator=generator, device=device) < config.flip_probability
    columns = torch.where(mirrored, width - 1 - columns, columns)
    which = torch.arange(count, device=device)[:, None, None]
    moved = images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return moved if outside is None else moved.masked_fill_(outside, 0)


def _is_outside(places: Tensor, size: int) -> Tensor:
    return (places < 0) | (places >= size)


def _inside(places: Tensor, size: int, fill: str) -> Tensor:
    if fill in ("edge", "black"):
        return places.clamp_(0, size - 1)
    places = places.abs_()
    return torch.minimum(places, 2 * (size - 1) - places)


def _erase(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    device = images.device
    sides = _sides(count, height * width, config, generator)

    def covered(size: int, side: Tensor | int) -> Tensor:
        centre = torch.randint(0, size, (count, 1), generator=generator, device=device)
        start = centre - side // 2
        places = torch.arange(size, device=device)
        return (places >= start) & (places < start + side)

    chosen = torch.rand((count, 1, 1), generator=generator, device=device) < config.erase_probability
    rectangle = covered(height, sides[0])[:, :, None] & covered(width, sides[1])[:, None, :] & chosen
    return images.masked_fill(rectangle[:, None], 128 if images.dtype == torch.uint8 else 0.5)


def _sides(
    count: int, pixels: int, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor | int, Tensor | int]:
    """Height and width of each image's rectangle, (count, 1), in pixels."""
    if config.erase_shape == "square":
        return config.erase_px, config.erase_px
    random = torch.rand((2, count, 1), generator=generator, device=generator.device)
    area = pixels * (_AREA[0] + (_AREA[1] - _AREA[0]) * random[0])
    aspect = torch.exp(math.log(_ASPECT) * (2.0 * random[1] - 1.0))
    return (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
