"""The layer where numbers stop being finite is named, in the forward pass and in the gradients, without a cost per step."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.divergence import LastGood, first_bad_layer
from nas.train.recipe.mixing import MixConfig
from nas.train.state.parts import ModelPart
from nas.train.state.result import DivergedError
from nas.train.trainer import train

CONFIG = TrainConfig(epochs=3, batch_size=16, precision="float32", evaluate_every_epochs=0)


class _BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, bad: Tensor) -> Tensor:  # type: ignore[override]
        context.save_for_backward(bad)
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (bad,) = context.saved_tensors
        return torch.where(bad, gradients[0] * float("inf"), gradients[0]), None


class _Breaks(nn.Module):
    """Passes on, but for the call number `at` in training; it counts in a buffer, so that a repeated step is the same."""

    calls: Tensor

    def __init__(self, at: int, gradient: bool) -> None:
        super().__init__()
        self.at, self.gradient = at, gradient
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.calls += 1
        if self.gradient:
            broken: Tensor = _BadGradient.apply(x, self.calls == self.at)
            return broken
        return x + torch.where(self.calls == self.at, float("inf"), 0.0)


def _network(at: int, gradient: bool) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 8),
            _Breaks(at, gradient), nn.Linear(8, 2),
        )  # fmt: skip


def _split(images: int) -> Split:
    generator = torch.Generator().manual_seed(images)
    pictures = torch.randint(0, 256, (images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures, torch.randint(0, 2, (images,), generator=generator))


def test_the_layer_of_a_bad_output_is_named() -> None:
    config = dataclasses.replace(CONFIG, ema_decay=0.9, mix=MixConfig(mixup_alpha=0.2))
    with pytest.raises(DivergedError, match=r"at step 9 of 12, .* the output of 5 \(_Breaks\) is not finite"):
        train(_network(9, gradient=False), _split(64), _split(40), config)


def test_the_layer_of_a_bad_gradient_is_named() -> None:
    with pytest.raises(DivergedError, match=r"step 10 of 12, .*: the gradient of 4 was not finite in the step before"):
        train(_network(9, gradient=True), _split(64), _split(40), CONFIG)


def test_steps_are_repeated_from_the_last_state_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.train.trainer._REPORT_EVERY_S", 0.0)
    monkeypatch.setattr("nas.train.trainer._KEEP_EVERY_S", 0.0)
    with pytest.raises(DivergedError, match=r"at step 9 of 12, .*5 \(_Breaks\)"):
        train(_network(9, gradient=False), _split(64), _split(40), CONFIG)


def test_a_high_rate_is_told_with_a_layer() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    config = dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=1e20)
    with pytest.raises(DivergedError, match=r"(output|gradient) of \d"):
        train(network, _split(64), _split(40), config)


def test_kept_states_are_copies() -> None:
    network = nn.Linear(2, 2)
    good = LastGood({"model": ModelPart(network)}, 3)
    before = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.fill_(float("nan"))
    assert good.restore() == 3
    assert torch.equal(network.weight, before)


def test_what_is_sound_is_not_accused() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert first_bad_layer(network, lambda: network(torch.ones(1, 2)).sum()) == ""
    assert first_bad_layer(network, lambda: network(torch.ones(1, 2)).sum() / 0).startswith("the loss itself")
    assert not network[0]._forward_hooks
