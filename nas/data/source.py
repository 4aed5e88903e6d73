"""What a source of pictures is, and the pictures it gives.

Images are uint8 (n, channels, size, size) with 0 black and 255 full, labels int64 (n) from 0 to classes - 1.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import torch
from torch import Tensor

from nas.core.errors import ContractError, InputError, suggestion
from nas.data.augment import AugmentConfig


@dataclass(frozen=True)
class Split:
    """Pictures and their labels, on one device. images: uint8 (n, channels, size, size); labels: int64 (n)."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ContractError(
                f"images must be uint8 (n, c, h, w), got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            got = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ContractError(f"labels must be int64 ({len(self.images)},), got {got}")

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        """The same split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def take(self, start: int, stop: int) -> "Split":
        """The images of the half-open interval [start, stop), as a view."""
        return Split(self.images[start:stop], self.labels[start:stop])


TestSplit = Literal["test", "rest"]


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and how many.

    root: folder of the files; None is $COEVO_DATA, or else ~/.cache/coevo.  train_images, test_images: None is all.
    validation_images: cut from the end of the training images.  seed: of a source that generates its pictures.
    with_extra: go on with the split "extra" after the last image of "train".  augment: of training batches.
    test_split: where the test images come from; "rest" is what of the split "train" neither trains nor validates, so that settings
    can be chosen by images that no result is reported on.
    """

    source: str = "street_digits"
    root: str | None = None
    train_images: int | None = None
    validation_images: int = 5000
    test_images: int | None = None
    test_split: TestSplit = "test"
    seed: int = 0
    with_extra: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name, least in (("train_images", 1), ("validation_images", 0), ("test_images", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError("data", name, f"at least {least}", value)

    def identity(self) -> dict[str, Any]:
        """What decides which pictures these are, as plain data: not where their files lie, and what a training makes of them."""
        free = ("root", "augment")
        return {name: value for name, value in msgspec.to_builtins(self).items() if name not in free}


class Source(Protocol):
    """Named splits of labelled pictures; the first n images of a split are the same on every call."""

    @property
    def name(self) -> str:
        """As in `data=name`."""

    @property
    def classes(self) -> int:
        """Labels are below it."""

    @property
    def channels(self) -> int:
        """Of every image."""

    @property
    def size_px(self) -> int:
        """Height and width of every image."""

    @property
    def splits(self) -> Mapping[str, int]:
        """The names of the splits, "train" and "test" among them, and how many images each has."""

    def load(self, split: str, images: int | None) -> Split:
        """The first `images` images (None: all) as contiguous tensors on the CPU; an `InputError` says what is missing."""


def data_root(config: DataConfig) -> Path:
    """The folder under which every source keeps its files."""
    return Path(config.root or os.environ.get("COEVO_DATA") or "~/.cache/coevo").expanduser()


def images_asked(source: Source, split: str, images: int | None) -> int:
    """`images` with None resolved; an `InputError` for a split or a number that the source has not."""
    if split not in source.splits:
        raise InputError(source.name, "split", "one of its splits", repr(split), suggestion(split, source.splits))
    size = source.splits[split]
    if images is not None and not 0 < images <= size:
        raise InputError(source.name, f"{split} images", f"1 to {size}", images)
    return size if images is None else images
