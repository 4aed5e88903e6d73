"""Images grow as the text says, keep what they show, and networks that cannot take small ones are told so."""

import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.distillation import Teacher
from nas.train.options import Options
from nas.train.resizing import ResizeConfig, resized
from nas.train.trainer import train

HALF = ResizeConfig(begin=0.5, until=0.75)


class _Watching(nn.Module):
    """A network of any size that notes the sides of the images it trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)
        self.sides: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.sides.append((x.shape[2], x.shape[3]))
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


def _data(height: int = 16, width: int = 24) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, height, width), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 3, (40,), generator=generator))


def _trained(network: nn.Module, resize: ResizeConfig, options: Options | None = None) -> None:
    config = TrainConfig(epochs=2, batch_size=8, precision="float32", resize=resize, evaluate_every_epochs=0)
    train(network, _data(), _data(), config, options=options)


def test_images_grow_in_eighths_and_are_whole_for_the_rest() -> None:
    network = _Watching()
    _trained(network, HALF)
    grown = [(8, 12), (10, 15), (10, 15), (12, 18), (12, 18), (14, 21), (14, 21)]  # 4 + 4 s / 7.5 eighths
    assert network.sides == [*grown, (16, 24), (16, 24), (16, 24)]


def test_off_is_off() -> None:
    network = _Watching()
    _trained(network, ResizeConfig())
    assert set(network.sides) == {(16, 24)}
    images = torch.rand(2, 3, 8, 8)
    assert resized(images, 1.0) is images


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_smaller_image_is_the_mean_of_what_it_covers(layout: torch.memory_format) -> None:
    """A ramp keeps its slope inside; pixels that alternate become grey, where dropping every other one would not."""
    ramp = torch.arange(16.0).expand(2, 3, 16, 16).contiguous(memory_format=layout)
    small = resized(ramp, 0.5)
    assert small.shape == (2, 3, 8, 8)
    assert small.is_contiguous(memory_format=layout)
    torch.testing.assert_close(small[0, 0, 4, 1:-1], torch.arange(0.5, 16.0, 2.0)[1:-1])
    stripes = torch.tensor([0.0, 1.0]).repeat(8).expand(1, 1, 16, 16)
    assert (resized(stripes, 0.5)[..., 1:-1] - 0.5).abs().max() < 0.26


@pytest.mark.parametrize("training", [True, False])
def test_a_network_of_one_size_is_refused_and_left_alone(training: bool) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 14 * 22, 3))
    network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=r"trainer\.resize.*begin.*cannot take images of 8x12"):
        _trained(network, HALF)
    assert network.training == training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(InputError, match="cannot take images of 8x12"):  # nor can it teach by small ones
        _trained(_Watching(), HALF, Options(teacher=Teacher(network)))


@pytest.mark.parametrize(
    "wrong", [{"begin": 0.0}, {"begin": 1.5}, {"begin": float("nan")}, {"until": 0.0}, {"until": 1.0}]
)
def test_wrong_shares_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"trainer\.resize.*share"):
        ResizeConfig(**wrong)
