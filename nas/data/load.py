"""A configuration -> the pictures to train, to choose and to report with, resident on one device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from nas.core.errors import InputError
from nas.core.registry import Registry
from nas.data.fashion_mnist import FashionMnist
from nas.data.source import DataConfig, Source, Split, images_asked
from nas.data.street_digits.source import StreetDigits
from nas.data.svhn import Svhn

SOURCES: Registry[Callable[[DataConfig], Source]] = Registry("data source")
SOURCES.add("street_digits", StreetDigits)
SOURCES.add("svhn", Svhn)
SOURCES.add("fashion_mnist", FashionMnist)


@dataclass(frozen=True)
class Data:
    """Three disjoint splits. A search sees train and validation; the test split is for the last word.

    identity: what decides which pictures these are, as plain data; {} where nobody says.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    channels: int
    size_px: int
    name: str
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def put_aside(self) -> Split:
        """What networks are compared on while they are made: images for validation, those for training where there are none."""
        return self.validation if len(self.validation) else self.train

    @property
    def nearly_none(self) -> Split:
        """What a training is evaluated on whose error nobody looks at."""
        return self.validation.take(0, 1)


def load_data(config: DataConfig, device: torch.device | str) -> Data:
    """The splits that `config` asks for, on `device`.

    The validation images are the last of the split "train" that are loaded; neighbours in SVHN's files come from the same
    photograph, so a cut keeps them together where a random choice would not. With `test_split: rest` the images behind them
    stand in for the test split.
    """
    source = SOURCES[config.source](config)
    train, validation, rest = _train_and_validation(source, config)
    test = source.load("test", config.test_images) if rest is None else rest
    return Data(
        train=train.to(device),
        validation=validation.to(device),
        test=test.to(device),
        classes=source.classes,
        channels=source.channels,
        size_px=source.size_px,
        name=source.name,
        identity=config.identity(),
    )


def _train_and_validation(source: Source, config: DataConfig) -> tuple[Split, Split, Split | None]:
    """Also the rest of "train", where that is asked for."""
    size = images_asked(source, "train", None)
    room = size - config.validation_images
    if room < 1:
        raise InputError(source.name, "validation_images", f"less than the {size} of train", config.validation_images)
    extra_room = images_asked(source, "extra", None) if config.with_extra else 0
    wanted = room + extra_room if config.train_images is None else config.train_images
    if wanted > room + extra_room:
        has = f"at most {room + extra_room}, beside {config.validation_images} for validation"
        raise InputError(source.name, "train_images", has, wanted)
    own = min(wanted, room)
    seen = own + config.validation_images
    rest_images = _rest_images(source, config, size - seen) if config.test_split == "rest" else 0
    loaded = source.load("train", seen + rest_images)
    train, validation = loaded.take(0, own), loaded.take(own, seen)
    if wanted > own:
        extra = source.load("extra", wanted - own)
        train = Split(torch.cat([train.images, extra.images]), torch.cat([train.labels, extra.labels]))
    return train, validation, loaded.take(seen, len(loaded)) if rest_images else None


def _rest_images(source: Source, config: DataConfig, left: int) -> int:
    """The images behind those that train and validate, of `left`, that are asked for."""
    if left < 1:
        raise InputError(source.name, "train_images", "fewer than all, so that test_split: rest has some", "all")
    wanted = left if config.test_images is None else config.test_images
    if wanted > left:
        raise InputError(source.name, "test_images", f"at most {left}, the rest of train", wanted)
    return wanted
