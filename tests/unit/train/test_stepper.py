"""Another one may say what trains at a step: it is asked and told in order, stored with the run, and part of what it is."""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from nas.core.errors import InputError
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.options import Options
from nas.train.trainer import train

CONFIG = TrainConfig(epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.1, momentum=0.0, weight_decay=0.0)


def _network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        depthwise = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)  # slow in bfloat16
        return nn.Sequential(nn.Conv2d(1, 4, 3), depthwise, nn.Flatten(), nn.Linear(36, 2))


def _split(images: int) -> Split:
    generator = torch.Generator().manual_seed(images)
    pictures = torch.randint(0, 256, (images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures, (pictures[:, 0, :4].float().mean((1, 2)) > 127).long())


class _Copies:
    """Trains a deep copy at each step, and puts its weights back when it is asked to, as a quota's sub-networks are."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, name: str = "copies") -> None:
        self.model, self.optimizer, self.name = model, optimizer, name
        self.calls: list[tuple[str, int, int]] = []
        self.counted, self.trained = 0, copy.deepcopy(model.state_dict())

    def begin(self, step: int, steps: int) -> tuple[nn.Module, Optimizer]:
        self.calls.append(("begin", step, steps))
        self.settle()
        self.small = copy.deepcopy(self.model)
        assert not any("forward" in vars(module) for module in self.small.modules())
        return self.small, SGD(self.small.parameters(), lr=7.0)

    def end(self, step: int, steps: int) -> None:
        self.calls.append(("end", step, steps))
        assert all(parameter.grad is not None for parameter in self.small.parameters())
        self.trained = self.small.state_dict()
        self.counted += 1

    def settle(self) -> None:
        self.model.load_state_dict(self.trained)

    def evaluated(self, network: nn.Module) -> nn.Module:
        return network

    def state(self) -> dict[str, Any]:
        return {"counted": self.counted}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.counted, self.trained = state["counted"], copy.deepcopy(self.model.state_dict())

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_copies_train_as_the_network_itself(precision: str) -> None:
    config = dataclasses.replace(CONFIG, precision=precision)
    made: list[_Copies] = []

    def make(model: nn.Module, optimizer: Optimizer) -> _Copies:
        made.append(_Copies(model, optimizer))
        return made[-1]

    alone, copied = _network(), _network()
    expected = train(alone, _split(64), _split(40), config)
    got = train(copied, _split(64), _split(40), config, options=Options(stepper=make))
    assert made[0].calls == [(name, step, 16) for step in range(16) for name in ("begin", "end")]
    assert got.curve == expected.curve
    for one, other in zip(copied.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


class _Doubtful(_Copies):
    """What counts of the network is its negative."""

    def evaluated(self, network: nn.Module) -> nn.Module:
        return nn.Sequential(network, nn.Linear(2, 2, bias=False).requires_grad_(False)).apply(_negative)


def _negative(module: nn.Module) -> None:
    if isinstance(module, nn.Linear) and module.bias is None:
        module.weight.copy_(-torch.eye(2))


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_what_counts_is_evaluated(ema_decay: float) -> None:
    config = dataclasses.replace(CONFIG, ema_decay=ema_decay)
    usual = train(_network(), _split(64), _split(40), config, options=Options(stepper=_Copies))
    got = train(_network(), _split(64), _split(40), config, options=Options(stepper=_Doubtful))
    assert [point.error.errors for point in got.curve] == [40 - point.error.errors for point in usual.curve]


def test_its_state_and_identity_are_kept(tmp_path: Path) -> None:
    made: list[_Copies] = []

    def make(name: str) -> Options:
        def stepper(model: nn.Module, optimizer: Optimizer) -> _Copies:
            made.append(_Copies(model, optimizer, name))
            return made[-1]

        return Options(stepper=stepper)

    train(_network(), _split(64), _split(40), CONFIG, tmp_path, make("one"))
    train(_network(), _split(64), _split(40), CONFIG, tmp_path, make("one"))
    assert made[1].counted == 16
    assert not made[1].calls
    with pytest.raises(InputError, match=r"stepper\.name: expected 'one', got 'two'"):
        train(_network(), _split(64), _split(40), CONFIG, tmp_path, make("two"))
    with pytest.raises(InputError, match="stepper"):
        train(_network(), _split(64), _split(40), CONFIG, tmp_path)
