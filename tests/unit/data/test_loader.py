"""Batches: every image once, exact values, and any step can be entered afresh."""

from collections import Counter

import numpy as np
import pytest
import torch

from nas.core.errors import InputError
from nas.data.augment import AugmentConfig
from nas.data.loader import Batches, evaluation_batches
from nas.data.source import Split

CONFIG = AugmentConfig(shift_px=2, flip_probability=0.5, erase_probability=0.5, erase_px=3)


def make_split(count: int = 50) -> Split:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=(count, 3, 8, 8), dtype=np.uint8))
    return Split(images, torch.arange(count))


def test_every_image_comes_once_an_epoch() -> None:
    batches = Batches(make_split(), 8, seed=1, drop_last=False)
    labels = [label for _, batch in batches.epoch(0) for label in batch.tolist()]
    assert Counter(labels) == Counter(range(50))
    assert len(batches) == 7
    assert len(list(batches.epoch(0))) == 7


def test_drop_last_drops_the_short_batch() -> None:
    batches = Batches(make_split(), 8, seed=1)
    assert len(batches) == 6
    assert [len(labels) for _, labels in batches.epoch(3)] == [8] * 6


def test_values_are_bytes_over_255_exactly() -> None:
    split = make_split()
    for images, labels in Batches(split, 8, seed=1).epoch(0):
        expected = split.images[labels].numpy().astype(np.float32) / np.float32(255)
        assert images.dtype == torch.float32
        assert np.array_equal(images.numpy(), expected)


def test_any_step_can_be_entered_afresh() -> None:
    whole = list(Batches(make_split(), 8, seed=1, augment=CONFIG).epoch(2))
    for start in range(7):
        resumed = list(Batches(make_split(), 8, seed=1, augment=CONFIG).epoch(2, start_step=start))
        assert len(resumed) == 6 - start
        for (images, labels), (images_again, labels_again) in zip(whole[start:], resumed, strict=True):
            assert torch.equal(images, images_again)
            assert torch.equal(labels, labels_again)


def test_epochs_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [label for _, batch in Batches(make_split(), 10, seed=seed).epoch(epoch) for label in batch.tolist()]

    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_no_global_generator_is_touched() -> None:
    before = torch.get_rng_state()
    list(Batches(make_split(), 8, seed=1, augment=CONFIG).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("augment", [None, CONFIG])
def test_channels_last_changes_the_layout_alone(augment: AugmentConfig | None) -> None:
    plain = Batches(make_split(), 8, seed=1, augment=augment).epoch(0)
    other = Batches(make_split(), 8, seed=1, augment=augment, channels_last=True).epoch(0)
    for (one, _), (two, _) in zip(plain, other, strict=True):
        assert one.is_contiguous()
        assert two.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(one, two)


def test_evaluation_keeps_the_order_and_the_rest() -> None:
    split = make_split(11)
    batches = list(evaluation_batches(split, 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 3]
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels)
    assert torch.equal((torch.cat([images for images, _ in batches]) * 255).round().to(torch.uint8), split.images)


@pytest.mark.parametrize(("count", "size", "drop_last"), [(5, 6, True), (5, 0, True), (0, 4, False)])
def test_an_epoch_without_a_batch_is_refused(count: int, size: int, drop_last: bool) -> None:
    with pytest.raises(InputError):
        Batches(make_split(count), size, seed=0, drop_last=drop_last)


def test_every_step_and_epoch_is_augmented_anew() -> None:
    picture = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    same = Split(picture.expand(40, 1, 8, 8).contiguous(), torch.zeros(40, dtype=torch.int64))
    batches = Batches(same, 10, seed=0, augment=AugmentConfig(shift_px=3))
    seen = [images for epoch in range(2) for images, _ in batches.epoch(epoch)]
    assert all(not torch.equal(one, other) for index, one in enumerate(seen) for other in seen[:index])
