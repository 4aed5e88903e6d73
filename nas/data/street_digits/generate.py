"""(seed, split, shard) -> 1,024 generated house numbers as SVHN crops them: images and labels.

Every shard has random streams of its own, so shards come out the same in any order and in any number of processes, and
the first n images of a split are the same whatever n is.

SVHN: Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011.
"""

import functools
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.core.seeding import stream
from nas.data.street_digits.camera import NATIVE_SIZES_PX, SIZE_PX, draw_lens, photograph
from nas.data.street_digits.glyphs import GlyphBank
from nas.data.street_digits.layout import draw_layout, place
from nas.data.street_digits.paint import draw_light, draw_texture, paint
from nas.data.street_digits.threads import one_thread

SHARD_IMAGES = 1024
_BATCH_IMAGES = 64  # of one native size: what fits into a core's own cache

# SVHN's own counts of the digits 0 to 9.
DIGIT_COUNTS = {
    "train": (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
    "test": (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
    "extra": (45550, 90560, 74740, 60765, 50633, 53490, 41582, 43997, 35358, 34456),
}

Parameters = TypeVar("Parameters")


@functools.lru_cache(maxsize=4)
def split_labels(seed: int, split: str) -> NDArray[np.int64]:
    """The labels of a whole split, 0 to 9: SVHN's counts exactly, in a random order."""
    labels = np.repeat(np.arange(10), DIGIT_COUNTS[split])
    return stream(seed, "street_digits", split, "labels").permutation(labels)


@one_thread()
def generate_shard(seed: int, split: str, shard: int, bank: GlyphBank) -> tuple[Tensor, NDArray[np.int64]]:
    """Images uint8 (n, 3, 32, 32) and labels int64 (n); n is 1,024 but in the last shard of a split."""
    labels = split_labels(seed, split)[shard * SHARD_IMAGES : (shard + 1) * SHARD_IMAGES]
    names = ("street_digits", split, shard)
    layout = draw_layout(stream(seed, *names, "layout"), labels, bank)
    light = draw_light(stream(seed, *names, "light"), len(labels))
    lens = draw_lens(stream(seed, *names, "lens"), len(labels))
    pixels = stream(seed, *names, "pixels")
    images = torch.empty((len(labels), 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    for native, size_px in enumerate(NATIVE_SIZES_PX):
        for batch in torch.nonzero(lens.native == native).squeeze(1).split(_BATCH_IMAGES):
            batch_layout, batch_light = _select(layout, batch), _select(light, batch)
            placed = place(batch_layout, bank, size_px)
            texture = draw_texture(pixels, batch_light, size_px)
            luma, chroma = paint(batch_light, batch_layout, placed, bank, texture)
            images[batch] = photograph(_select(lens, batch), luma, chroma, pixels)
    return images, labels


def _select(parameters: Parameters, images: Tensor) -> Parameters:
    """The parameters of some of the images: every field is a tensor whose first axis is the image."""
    fields = type(parameters).__dataclass_fields__  # type: ignore[attr-defined]
    return type(parameters)(*(getattr(parameters, name)[images] for name in fields))
