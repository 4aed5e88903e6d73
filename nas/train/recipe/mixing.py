"""A batch -> a batch in which every image is mixed with another, and what the loss has to know of it.

mixup (H. Zhang et al., arXiv 1710.09412): share * image + (1 - share) * partner
cutmix (S. Yun et al., arXiv 1905.04899): a rectangle of 1 - share of the image is the partner's

The partner is the image before it in the batch, whose order is random. The share is Beta(alpha, alpha), one for the batch;
it is drawn on the CPU from the stream of the step, so that any step can be entered afresh and no device is waited for.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from nas.core.errors import InputError
from nas.core.seeding import stream


@dataclass(frozen=True)
class MixConfig:
    """mixup_alpha, cutmix_alpha: 0 is off; with both, each mixed step takes one of them. probability: of mixing a step."""

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError("trainer.mix", name, "0 or more", getattr(self, name))
        if not 0 <= self.probability <= 1:
            raise InputError("trainer.mix", "probability", "0 to 1", self.probability)

    def __bool__(self) -> bool:
        """Whether it does anything."""
        return self.probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)


class Target(NamedTuple):
    """What a batch shows: `share` of `labels` (b) and the rest of `partners` (b), which are None where nothing is mixed."""

    labels: Tensor
    partners: Tensor | None = None
    share: float = 1.0

    def part(self, start: int, end: int) -> "Target":
        """Of the images start .. end - 1."""
        partners = None if self.partners is None else self.partners[start:end]
        return Target(self.labels[start:end], partners, self.share)


def mix(images: Tensor, labels: Tensor, config: MixConfig, seed: int, step: int) -> tuple[Tensor, Target]:
    """images: (b, c, h, w), float; labels: (b,). `step` of the training that `seed` belongs to."""
    if not config:
        return images, Target(labels)
    generator = stream(seed, "mix", step)
    if generator.random() >= config.probability:
        return images, Target(labels)
    partners = labels.roll(1, 0)
    alphas = [config.mixup_alpha, config.cutmix_alpha]
    chosen = int(generator.integers(2)) if all(alphas) else int(alphas[0] == 0)
    share = float(generator.beta(alphas[chosen], alphas[chosen]))
    if chosen == 0:
        return images.roll(1, 0).lerp_(images, share), Target(labels, partners, share)
    (top, bottom), (left, right) = (_cut(size, share, generator) for size in images.shape[2:])
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right].roll(1, 0)
    share = 1.0 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
    return mixed, Target(labels, partners, share)


def _cut(size: int, share: float, generator: np.random.Generator) -> tuple[int, int]:
    """A stretch around a random centre; what reaches beyond the image is cut off."""
    half, centre = size * (1.0 - share) ** 0.5 / 2.0, int(generator.integers(size))
    return max(0, round(centre - half)), min(size, round(centre + half))
