"""`load_data`: three disjoint splits, cut where they should be."""

from collections.abc import Mapping

import pytest
import torch

from nas.core.errors import InputError
from nas.data.load import SOURCES, Data, load_data
from nas.data.source import DataConfig, Split, TestSplit, images_asked


class Counting:
    """A source whose labels number its images: train from 0, extra from 1000, test from 2000."""

    name, classes, channels, size_px = "counting", 3000, 1, 2
    splits: Mapping[str, int] = {"train": 100, "extra": 50, "test": 40}
    firsts: Mapping[str, int] = {"train": 0, "extra": 1000, "test": 2000}

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    def load(self, split: str, images: int | None) -> Split:
        count = images_asked(self, split, images)
        return Split(torch.zeros((count, 1, 2, 2), dtype=torch.uint8), torch.arange(count) + self.firsts[split])


@pytest.fixture(autouse=True)
def _counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES._members, "counting", Counting)


def load(
    train_images: int | None = None,
    validation_images: int = 20,
    test_images: int | None = None,
    with_extra: bool = False,
    test_split: TestSplit = "test",
) -> Data:
    config = DataConfig(
        "counting", None, train_images, validation_images, test_images, with_extra=with_extra, test_split=test_split
    )
    return load_data(config, "cpu")


def test_everything() -> None:
    data = load()
    assert data.train.labels.tolist() == list(range(80))
    assert data.validation.labels.tolist() == list(range(80, 100))
    assert data.test.labels.tolist() == list(range(2000, 2040))
    assert (data.name, data.classes, data.channels, data.size_px) == ("counting", 3000, 1, 2)


def test_part() -> None:
    data = load(train_images=10, validation_images=5, test_images=7)
    assert data.train.labels.tolist() == list(range(10))
    assert data.validation.labels.tolist() == list(range(10, 15))
    assert data.test.labels.tolist() == list(range(2000, 2007))


def test_extra_follows_train() -> None:
    assert load(with_extra=True).train.labels.tolist() == [*range(80), *range(1000, 1050)]
    part = load(train_images=90, with_extra=True)
    assert part.train.labels.tolist() == [*range(80), *range(1000, 1010)]
    assert part.validation.labels.tolist() == list(range(80, 100))
    assert load(train_images=50, with_extra=True).train.labels.tolist() == list(range(50))


@pytest.mark.parametrize(("test_images", "last"), [(None, 100), (30, 65)])
def test_rest_of_train_stands_in_for_the_test(test_images: int | None, last: int) -> None:
    data = load(train_images=30, validation_images=5, test_images=test_images, test_split="rest")
    assert data.train.labels.tolist() == list(range(30))
    assert data.validation.labels.tolist() == list(range(30, 35))
    assert data.test.labels.tolist() == list(range(35, last))


def test_no_validation() -> None:
    data = load(validation_images=0)
    assert (len(data.train), len(data.validation)) == (100, 0)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"train_images": 81}, "train_images: expected at most 80"),
        ({"train_images": 131, "with_extra": True}, "train_images: expected at most 130"),
        ({"validation_images": 100}, "validation_images: expected less than the 100"),
        ({"test_images": 41}, "test images: expected 1 to 40"),
        ({"test_split": "rest", "train_images": 30, "test_images": 51}, "test_images: expected at most 50, the rest"),
        ({"test_split": "rest"}, "train_images: expected fewer than all"),
    ],
)
def test_more_than_there_is(keys: dict[str, int], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load(**keys)


def test_an_unknown_source_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean 'street_digits'"):
        load_data(DataConfig(source="street_digit"), "cpu")
