"""Mixed images pixel by pixel, their loss against torch's soft labels, and the same mix whenever a step is entered."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.core.errors import InputError
from nas.train.recipe.losses import classification_loss
from nas.train.recipe.mixing import MixConfig, Target, mix

IMAGES = torch.rand(6, 3, 8, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_mixup_is_the_weighted_sum_of_neighbours() -> None:
    shares = set()
    for step in range(20):
        mixed, target = mix(IMAGES, LABELS, MixConfig(mixup_alpha=0.4), seed=1, step=step)
        assert target.partners is not None
        assert target.partners.tolist() == [1, 0, 1, 2, 3, 0]
        for index in range(6):
            expected = target.share * IMAGES[index] + (1 - target.share) * IMAGES[index - 1]
            torch.testing.assert_close(mixed[index], expected)
        shares.add(target.share)
    assert len(shares) == 20


def test_cutmix_takes_one_rectangle_and_counts_its_pixels() -> None:
    areas = []
    for step in range(40):
        mixed, target = mix(IMAGES, LABELS, MixConfig(cutmix_alpha=1.0), seed=1, step=step)
        theirs = (mixed == IMAGES.roll(1, 0)).all(1)
        assert torch.equal(theirs | (mixed == IMAGES).all(1), torch.ones_like(theirs))
        rows, columns = theirs[0].any(1), theirs[0].any(0)
        assert torch.equal(theirs, (rows[:, None] & columns).expand_as(theirs)), "not the same rectangle in every image"
        assert target.share == pytest.approx(1 - float(theirs[0].float().mean()))
        areas.append(1 - target.share)
    assert 0.1 < np.mean(areas) < 0.6
    assert max(areas) > 0.5
    assert not torch.equal(IMAGES, mixed)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_of_soft_labels(smoothing: float) -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    target = Target(LABELS, LABELS.roll(1, 0), 0.3)
    soft = 0.3 * F.one_hot(LABELS, 4).float() + 0.7 * F.one_hot(LABELS.roll(1, 0), 4).float()
    expected = F.cross_entropy(logits, soft, label_smoothing=smoothing)
    torch.testing.assert_close(classification_loss(logits, target, smoothing), expected)
    halves = [classification_loss(logits[a:b], target.part(a, b), smoothing) for a, b in ((0, 3), (3, 6))]
    torch.testing.assert_close((halves[0] + halves[1]) / 2, expected)
    plain = classification_loss(logits, Target(LABELS), smoothing)
    torch.testing.assert_close(plain, F.cross_entropy(logits, LABELS, label_smoothing=smoothing))


def test_the_seed_and_the_step_decide() -> None:
    config = MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0)
    first, again = (mix(IMAGES, LABELS, config, seed=1, step=7) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert first[1].share == again[1].share
    assert len({mix(IMAGES, LABELS, config, seed, step)[1].share for seed in (1, 2) for step in (7, 8)}) == 4


def test_both_and_the_probability() -> None:
    config = MixConfig(mixup_alpha=1.0, cutmix_alpha=1.0, probability=0.5)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for step in range(400):
        mixed, target = mix(IMAGES, LABELS, config, seed=3, step=step)
        if target.partners is None:
            kinds["none"] += 1
            assert mixed is IMAGES
        else:
            cut = ((mixed == IMAGES) | (mixed == IMAGES.roll(1, 0))).all()
            kinds["cutmix" if cut else "mixup"] += 1
    assert 160 < kinds["none"] < 240  # 200 expected, standard deviation 10
    assert 70 < kinds["mixup"] < 130  # 100 expected, standard deviation 9
    assert 70 < kinds["cutmix"] < 130


def test_off_is_off() -> None:
    mixed, target = mix(IMAGES, LABELS, MixConfig(), seed=0, step=0)
    assert mixed is IMAGES
    assert target.partners is None


@pytest.mark.parametrize(("name", "value"), [("mixup_alpha", -1.0), ("cutmix_alpha", float("inf")), ("probability", 2)])
def test_settings_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        dataclasses.replace(MixConfig(), **{name: value})
