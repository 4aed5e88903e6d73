"""A batch of images -> the same batch, each image a little moved, mirrored or with a square rubbed out.

All of it happens on the images' device, for the whole batch at once, with random numbers of the given generator.
Erasing: Z. Zhong et al., "Random Erasing Data Augmentation", arXiv 1708.04896; T. DeVries, "Cutout", arXiv 1708.04552.
We fill with mid grey.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nas.core.errors import InputError


@dataclass(frozen=True)
class AugmentConfig:
    """shift_px: largest move in x and in y.  shift_fill: what comes in at the border: its edge repeated, or a reflection.

    flip_probability: of mirroring left to right; leave it at 0 where a mirrored picture means something else.
    erase_probability: of a grey square; erase_px: its side; it may reach beyond the image.
    """

    shift_px: int = 0
    shift_fill: Literal["edge", "reflect"] = "edge"
    flip_probability: float = 0.0
    erase_probability: float = 0.0
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
    rows = _inside(torch.arange(height, device=device) + shifts[0], height, config.shift_fill)
    columns = _inside(torch.arange(width, device=device) + shifts[1], width, config.shift_fill)
    mirrored = torch.rand((count, 1), generator=generator, device=device) < config.flip_probability
    columns = torch.where(mirrored, width - 1 - columns, columns)
    which = torch.arange(count, device=device)[:, None, None]
    return images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _inside(places: Tensor, size: int, fill: str) -> Tensor:
    if fill == "edge":
        return places.clamp_(0, size - 1)
    places = places.abs_()
    return torch.minimum(places, 2 * (size - 1) - places)


def _erase(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    device = images.device

    def covered(size: int) -> Tensor:
        centre = torch.randint(0, size, (count, 1), generator=generator, device=device)
        start = centre - config.erase_px // 2
        places = torch.arange(size, device=device)
        return (places >= start) & (places < start + config.erase_px)

    chosen = torch.rand((count, 1, 1), generator=generator, device=device) < config.erase_probability
    square = covered(height)[:, :, None] & covered(width)[:, None, :] & chosen
    return images.masked_fill(square[:, None], 128 if images.dtype == torch.uint8 else 0.5)
