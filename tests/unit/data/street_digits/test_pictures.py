"""What comes out of the generator looks like SVHN by its numbers, shows what its labels say, and is reproducible."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

from nas.core.seeding import stream
from nas.data.street_digits import camera
from nas.data.street_digits.camera import NATIVE_SIZES_PX, Lens, draw_lens, photograph
from nas.data.street_digits.generate import DIGIT_COUNTS, generate_shard, split_labels
from nas.data.street_digits.glyphs import GlyphBank
from nas.data.street_digits.layout import draw_layout, place

Drawn = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def drawn(bank: GlyphBank) -> Drawn:
    """5,120 pictures and their labels."""
    shards = [generate_shard(0, "train", shard, bank) for shard in range(5)]
    return torch.cat([images for images, _ in shards]), torch.from_numpy(
        np.concatenate([labels for _, labels in shards])
    )


def test_colours_spread_as_in_svhn(drawn: Drawn) -> None:
    pictures = drawn[0].float() / 255
    means, deviations = pictures.mean((0, 2, 3)), pictures.std((0, 2, 3))
    within = pictures.std((2, 3)).mean(0)
    assert (means - torch.tensor([0.438, 0.444, 0.473])).abs().max() < 0.02
    assert (deviations - torch.tensor([0.198, 0.201, 0.197])).abs().max() < 0.02
    assert within.min() > 0.11
    assert within.max() < 0.15


def test_pictures_show_what_the_labels_say(drawn: Drawn) -> None:
    """Nine nearest neighbours by the direction of edges know most digits, and few of the mirrored ones."""
    pictures, labels = drawn
    known, asked = slice(0, 4096), slice(4096, 5120)
    neighbours = edges(pictures[known])

    def accuracy(images: Tensor) -> float:
        nearest = (edges(images) @ neighbours.T).topk(9, dim=1).indices
        voted = one_hot(labels[known][nearest], 10).sum(1).argmax(1)
        return float((voted == labels[asked]).float().mean())

    assert accuracy(pictures[asked]) > 0.7
    assert accuracy(pictures[asked].flip(3)) < 0.5


def edges(pictures: Tensor) -> Tensor:
    """Unit vectors of gradients whose angle is doubled, so that light on dark is the same as dark on light."""
    grey = avg_pool2d(pictures.float().mean(1, keepdim=True), 2)[:, 0, :, 3:-3]
    gradient = torch.complex(grey[:, 1:, 1:] - grey[:, 1:, :-1], grey[:, 1:, 1:] - grey[:, :-1, 1:])
    doubled = gradient.square() / (gradient.abs() + 1e-3)
    return torch.nn.functional.normalize(torch.view_as_real(doubled).flatten(1))


def test_a_shard_depends_on_seed_split_and_number_alone(drawn: Drawn, bank: GlyphBank) -> None:
    images, labels = generate_shard(0, "train", 3, bank)
    assert torch.equal(images, drawn[0][3072:4096])
    assert np.array_equal(labels, drawn[1][3072:4096].numpy())
    for seed, split, shard in ((1, "train", 3), (0, "test", 3), (0, "train", 2)):
        others, _ = generate_shard(seed, split, shard, bank)
        assert (others != images).float().mean() > 0.9


@pytest.mark.parametrize(("split", "images"), [("train", 73257), ("test", 26032), ("extra", 531131)])
def test_digits_are_as_frequent_as_in_svhn(split: str, images: int) -> None:
    labels = split_labels(3, split)
    assert len(labels) == images
    assert tuple(np.bincount(labels)) == DIGIT_COUNTS[split]
    beginning = np.bincount(labels[:4096], minlength=10) / 4096  # in no order: the beginning is like the whole
    assert np.abs(beginning - np.array(DIGIT_COUNTS[split]) / images).max() < 0.03


def test_the_last_shard_is_short(bank: GlyphBank) -> None:
    images, labels = generate_shard(0, "test", 25, bank)
    assert len(images) == len(labels) == 26032 - 25 * 1024


def test_the_labelled_digit_is_in_the_middle(bank: GlyphBank) -> None:
    """Without neighbours, the ink's centre of mass is near the crop's centre, and its height is what was drawn."""
    labels = np.arange(200) % 10
    layout = draw_layout(stream(0, "test", "layout"), labels, bank)
    alone = layout.glyphs.clone()
    alone[:, [0, 1, 3, 4]] = bank.blank
    placed = place(replace(layout, glyphs=alone), bank, 48)
    ink = (placed.distance < 0).reshape(-1, 48, 48)
    assert ink.any(2).any(1).all()
    steps = (torch.arange(48) + 0.5) / 48 - 0.5
    weight = ink.float() / ink.sum((1, 2), keepdim=True)
    centre_x, centre_y = (weight.sum(1) * steps).sum(1), (weight.sum(2) * steps).sum(1)
    assert (centre_x - layout.offset[:, 0]).abs().mean() < 0.06
    assert (centre_y - layout.offset[:, 1]).abs().mean() < 0.06
    assert abs(float(centre_x.mean())) < 0.03
    heights = ink.any(2).sum(1) / 48
    assert (heights - layout.heights[:, 0]).abs().median() < 0.12


def test_most_numbers_have_neighbours(bank: GlyphBank) -> None:
    layout = draw_layout(stream(0, "test", "layout"), np.zeros(4000, dtype=np.int64), bank)
    digits = (layout.glyphs != bank.blank).sum(1)
    assert abs(float((digits == 1).float().mean()) - 0.07) < 0.02
    assert (layout.glyphs[:, 2] % 10 == 0).all()
    fonts = torch.where(layout.glyphs == bank.blank, -1, layout.glyphs // 10)
    assert ((fonts == fonts[:, 2:3]) | (fonts == -1)).all(), "one number, one font"
    assert (layout.borders.diff(dim=1) > 0).all()


def clear_lens(count: int, size_index: int) -> Lens:
    """A camera that changes as little as ours can: least blur, no noise, fine rounding."""
    lens = draw_lens(stream(0, "test", "lens"), count)
    return Lens(
        native=torch.full_like(lens.native, size_index),
        blur=torch.zeros_like(lens.blur),
        phase=lens.phase,
        noise=torch.zeros_like(lens.noise),
        step=torch.full_like(lens.step, 1e-4),
    )


@pytest.mark.parametrize("size_index", range(len(NATIVE_SIZES_PX)))
def test_an_even_colour_stays_as_it_is(size_index: int) -> None:
    size_px = NATIVE_SIZES_PX[size_index]
    luma = torch.full((9, size_px, size_px), 0.5)
    chroma = torch.tensor([0.1, -0.05]).reshape(1, 2, 1, 1).expand(9, 2, size_px, size_px)
    photo = photograph(clear_lens(9, size_index), luma, chroma, stream(0, "test", "noise"))
    # ITU-R BT.601: R = Y + 1.402 Cr, G = Y - 0.344 Cb - 0.714 Cr, B = Y + 1.772 Cb
    expected = torch.tensor([0.5 - 0.0701, 0.5 - 0.0344 + 0.0357, 0.5 + 0.1772]) * 255
    assert (photo.float() - expected.reshape(1, 3, 1, 1)).abs().max() <= 1.0


def test_a_ramp_stays_a_ramp_at_every_size() -> None:
    for size_index, size_px in enumerate(NATIVE_SIZES_PX):
        ramp = ((torch.arange(size_px) + 0.5) / size_px).expand(4, size_px, size_px)
        chroma = torch.zeros(4, 2, size_px, size_px)
        photo = photograph(clear_lens(4, size_index), ramp, chroma, stream(0, "test", "noise"))
        expected = (torch.arange(32) + 0.5) / 32 * 255
        inner = slice(5, 27)  # away from the borders, where blur and resize see an edge
        assert (photo.float() - expected)[..., inner].abs().max() <= 2.0
        upright = photograph(clear_lens(4, size_index), ramp.transpose(1, 2), chroma, stream(0, "test", "noise"))
        assert torch.equal(upright, photo.transpose(2, 3)) or (upright.float() - photo.transpose(2, 3)).abs().max() <= 1


def test_block_transforms_are_orthonormal() -> None:
    for size_px in NATIVE_SIZES_PX:
        for phase in range(8):
            transform, frequency = camera._block_dct(size_px, phase)
            assert np.allclose(transform @ transform.T, np.eye(size_px), atol=1e-12)
            assert frequency.min() == 0
            assert frequency.max() < 1


def test_coarser_rounding_and_more_blur_lose_detail() -> None:
    generator = np.random.default_rng(0)
    luma = torch.from_numpy(generator.random((16, 24, 24), dtype=np.float32))
    chroma = torch.zeros(16, 2, 24, 24)
    clear = clear_lens(16, 3)
    detail = []
    for changed in (
        clear,
        replace(clear, blur=clear.blur + 8),
        replace(clear, blur=clear.blur + 8, step=clear.step * 6000),
    ):
        photo = photograph(changed, luma, chroma, generator).float()
        detail.append(float(photo.diff(dim=3).abs().mean()))
    assert detail[0] > 1.5 * detail[1]
    assert detail[1] > 1.1 * detail[2]


def test_every_parameter_has_one_row_an_image(bank: GlyphBank) -> None:
    """`generate` picks images by indexing every field."""
    layout = draw_layout(stream(0, "test", "layout"), np.arange(7), bank)
    lens = draw_lens(stream(0, "test", "lens"), 7)
    for parameters in (layout, lens):
        assert all(len(getattr(parameters, field.name)) == 7 for field in fields(parameters))
