"""The interval against scipy's, the count against a plain loop."""

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.data.source import Split
from nas.train.recipe.metrics import ErrorRate, evaluate


@pytest.mark.parametrize(("errors", "images"), [(0, 10), (10, 10), (1, 1), (27, 1000), (500, 26032), (3, 7)])
def test_interval_is_wilsons(errors: int, images: int) -> None:
    expected = binomtest(errors, images).proportion_ci(0.95, method="wilson")
    got = ErrorRate(errors, images)
    assert got.rate == errors / images
    assert got.low == pytest.approx(expected.low, abs=1e-12)
    assert got.high == pytest.approx(expected.high, abs=1e-12)
    assert got.low <= got.rate <= got.high


@pytest.mark.parametrize(("errors", "images"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(errors: int, images: int) -> None:
    with pytest.raises(ValueError, match="errors must be"):
        ErrorRate(errors, images)


class _ByFirstPixel(nn.Module):
    """Class 1 where the first pixel is bright; notes the mode in which it is asked."""

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        bright = (x[:, 0, 0, 0] > 0.5).float()
        return torch.stack((1 - bright, bright), dim=1)


def test_evaluate_counts_every_image_once_and_gives_the_mode_back() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (103, 1, 4, 4), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 2, (103,), generator=generator)
    model = _ByFirstPixel().train()
    got = evaluate(model, Split(images, labels), batch_size=25)
    wrong = sum(int((image[0, 0, 0] > 127) != label) for image, label in zip(images, labels, strict=True))
    assert (got.errors, got.images) == (wrong, 103)
    assert model.training


def test_no_images_is_an_error() -> None:
    empty = Split(torch.empty(0, 1, 4, 4, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
    with pytest.raises(InputError, match="at least one image"):
        evaluate(_ByFirstPixel(), empty)
