"""Augmentation against the slow, obvious way of doing it, one pixel at a time."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from nas.core.errors import InputError
from nas.data.augment import AugmentConfig, augment


def make_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distinct_images(count: int, height: int, width: int) -> Tensor:
    """Every pixel of an image has a value of its own."""
    single = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    return single.expand(count, 2, height, width) / 1000.0


def moved(image: Tensor, shift_y: int, shift_x: int, flipped: bool, fill: str) -> Tensor:
    """One image (c, h, w) moved pixel by pixel."""
    _, height, width = image.shape
    result = torch.empty_like(image)
    for y in range(height):
        for x in range(width):
            places = []
            for place, size in ((y + shift_y, height), ((width - 1 - x if flipped else x) + shift_x, width)):
                if fill == "edge":
                    places.append(min(max(place, 0), size - 1))
                elif fill == "black":
                    places.append(place if 0 <= place < size else -1)
                else:
                    places.append(-place if place < 0 else 2 * (size - 1) - place if place >= size else place)
            result[:, y, x] = image[:, places[0], places[1]] if min(places) >= 0 else 0.0
    return result


def is_same(one: Tensor, other: Tensor) -> bool:
    return bool(torch.equal(one, other))


@pytest.mark.parametrize("fill", ["edge", "reflect", "black"])
def test_every_result_is_one_of_the_possible_moves(fill: Literal["edge", "reflect", "black"]) -> None:
    images = distinct_images(300, 5, 7) + 0.001
    result = augment(images, AugmentConfig(shift_px=2, shift_fill=fill, flip_probability=0.5), make_generator())
    assert result.shape == images.shape
    moves = [(y, x, f) for y in range(-2, 3) for x in range(-2, 3) for f in (False, True)]
    # A mirrored picture may be moved either way: compare with the mirror image of the moved one.
    possible = {
        move: moved(images[0], *move[:2], False, fill).flip(2) if move[2] else moved(images[0], *move, fill)
        for move in moves
    }
    seen = set()
    for image in result:
        matches = [move for move, picture in possible.items() if is_same(image, picture)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) >= 45  # of 50, in 300 draws: 50 * (1 - 1 / 50) ** 300 = 0.1 are missing on average


def test_nothing_asked_is_nothing_done() -> None:
    images = distinct_images(3, 4, 4)
    assert augment(images, AugmentConfig(), make_generator()) is images


def test_flip_probability_one_mirrors_all() -> None:
    images = distinct_images(4, 5, 6)
    assert torch.equal(augment(images, AugmentConfig(flip_probability=1.0), make_generator()), images.flip(3))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_erasing_leaves_one_grey_square(dtype: torch.dtype) -> None:
    images = torch.zeros((200, 3, 12, 12), dtype=dtype)
    result = augment(images, AugmentConfig(erase_probability=0.5, erase_px=4), make_generator())
    grey = 128 if dtype == torch.uint8 else 0.5
    erased = 0
    for image in result:
        mask = image == grey
        assert torch.equal(mask.any(0), mask.all(0))  # the same square in every channel
        rows, columns = mask[0].any(1), mask[0].any(0)
        assert torch.equal(mask[0], rows[:, None] & columns)  # a rectangle
        assert rows.sum() <= 4
        assert columns.sum() <= 4
        assert int((image != 0).sum()) == int(mask.sum())
        erased += bool(mask.any())
    assert 70 <= erased <= 130  # 100 expected, standard deviation 7
    assert not images.any(), "the input was changed"


def test_random_erasing_has_the_papers_areas_and_aspects() -> None:
    """Of the rectangles that lie wholly inside, which are the only ones that show their sides."""
    images = torch.zeros((600, 1, 60, 60))
    result = augment(images, AugmentConfig(erase_probability=1.0, erase_shape="random"), make_generator())
    areas, aspects = [], []
    for mask in (result == 0.5)[:, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)
        if not (rows[0] or rows[-1] or columns[0] or columns[-1]):
            areas.append(int(mask.sum()) / 3600)
            aspects.append(int(rows.sum()) / int(columns.sum()))
    assert len(areas) > 100
    assert 0.015 < min(areas) < 0.05
    assert 0.3 < max(areas) < 0.42
    assert 0.25 < min(aspects) < 0.5
    assert 2.0 < max(aspects) < 4.0


def test_the_generator_decides() -> None:
    images = distinct_images(32, 8, 8)
    config = AugmentConfig(shift_px=3, flip_probability=0.5, erase_probability=0.5, erase_px=2)
    first, again, other = (augment(images, config, make_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_shift_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="shift_px"):
        augment(distinct_images(1, 4, 4), AugmentConfig(shift_px=4), make_generator())
