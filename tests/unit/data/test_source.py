"""The types of a source refuse what they do not mean."""

from pathlib import Path

import pytest
import torch

from nas.core.config import from_config
from nas.core.errors import ContractError, InputError
from nas.data.augment import AugmentConfig
from nas.data.source import DataConfig, Split, data_root

IMAGES = torch.arange(6 * 3 * 4 * 4, dtype=torch.int64).reshape(6, 3, 4, 4).to(torch.uint8)


def test_take_is_half_open() -> None:
    part = Split(IMAGES, torch.arange(6)).take(2, 5)
    assert part.labels.tolist() == [2, 3, 4]
    assert torch.equal(part.images, IMAGES[2:5])
    assert len(part) == 3


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.float(), torch.arange(6)),
        (IMAGES[0], torch.arange(3)),
        (IMAGES, torch.arange(5)),
        (IMAGES, torch.zeros(6)),
    ],
)
def test_split_refuses_what_is_no_split(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(ContractError):
        Split(images, labels)


def test_root_is_the_config_then_the_environment_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COEVO_DATA", "/data/shared")
    assert data_root(DataConfig(root="/mine")) == Path("/mine")
    assert data_root(DataConfig()) == Path("/data/shared")
    monkeypatch.delenv("COEVO_DATA")
    assert data_root(DataConfig()) == Path.home() / ".cache" / "coevo"


def test_config_converts_with_its_augmentation() -> None:
    config = from_config({"source": "svhn", "augment": {"shift_px": 3, "shift_fill": "reflect"}}, DataConfig, "data")
    assert config == DataConfig(source="svhn", augment=AugmentConfig(shift_px=3, shift_fill="reflect"))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"train_imags": 5}, "train_images"),
        ({"augment": {"flip_probabilty": 0.5}}, "flip_probability"),
        ({"augment": {"flip_probability": 1.5}}, "flip_probability"),
        ({"augment": {"shift_fill": "wrap"}}, "shift_fill"),
        ({"augment": {"shift_px": -1}}, "shift_px"),
        ({"train_images": 0}, "train_images"),
        ({"validation_images": -1}, "validation_images"),
        ({"test_images": "many"}, "test_images"),
    ],
)
def test_wrong_keys_are_named(keys: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        from_config(keys, DataConfig, "data")
