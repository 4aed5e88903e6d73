"""Through torch.compile: the same training, the same names, and one line where it does not work."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.data.source import Split
from nas.train import step
from nas.train.config import TrainConfig
from nas.train.options import Options
from nas.train.recipe.stepper import WholeNetwork
from nas.train.trainer import train

CONFIG = TrainConfig(epochs=2, batch_size=16, precision="float32", compile=True, learning_rate=0.003, accumulate=2)


class _Network(nn.Module):
    """Without a length, as most networks are."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def _network() -> _Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _Network(nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 4, 3, stride=2, groups=4), nn.Flatten(), nn.Linear(16, 2),
        ))  # fmt: skip


def _split(images: int) -> Split:
    generator = torch.Generator().manual_seed(images)
    pictures = torch.randint(0, 256, (images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures, (pictures[:, 0, :4].float().mean((1, 2)) > 127).long())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_training_is_the_training(tmp_path: Path, precision: str) -> None:
    config = dataclasses.replace(CONFIG, precision=precision)
    plain, fast = _network(), _network()
    expected = train(plain, _split(64), _split(40), dataclasses.replace(config, compile=False))
    got = train(fast, _split(64), _split(40), config, tmp_path)
    assert list(fast.state_dict()) == list(plain.state_dict())
    tolerance = 1e-3 if precision == "float32" else 0.05
    assert [point.loss for point in got.curve] == pytest.approx([point.loss for point in expected.curve], rel=tolerance)
    # The same folder goes on without it: the switch is not what a run is.
    again = _network()
    assert train(again, _split(64), _split(40), dataclasses.replace(config, compile=False), tmp_path).curve == got.curve
    assert torch.equal(again.layers[0].weight, fast.layers[0].weight)


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_backend(graph: object, inputs: object) -> Any:
        raise RuntimeError("no C++ compiler in sight")

    monkeypatch.setattr(step, "compiled", lambda network: torch.compile(network, backend=no_backend))
    with pytest.raises(InputError, match=r"trainer: compile: expected .*no C\+\+ compiler in sight.*compile=false"):
        train(_network(), _split(64), _split(40), CONFIG)


def test_other_networks_at_each_step_are_not_compiled() -> None:
    with pytest.raises(InputError, match="compile: expected false"):
        train(_network(), _split(64), _split(40), CONFIG, options=Options(stepper=WholeNetwork))
