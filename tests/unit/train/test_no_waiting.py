"""A step never asks the device for a number: on a GPU each such question would stop the host until the device is done."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.data.augment import AugmentConfig
from nas.data.loader import Batches
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.options import Options
from nas.train.recipe.distillation import Teacher
from nas.train.recipe.mixing import MixConfig
from nas.train.recipe.stepper import WholeNetwork
from nas.train.step import TrainStep

EVERYTHING = TrainConfig(
    batch_size=16,
    accumulate=2,
    ema_decay=0.9,
    clip_norm=1.0,
    label_smoothing=0.1,
    mix=MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0),
    augment=AugmentConfig(shift_px=2, flip_probability=0.5, erase_probability=0.5, erase_px=2),
)
# What a tensor must be read for: its number, its truth, or a shape that depends on its numbers.
QUESTIONS = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal", "aten::masked_select"}


class _Questions(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in QUESTIONS:
            self.asked.append(name)
        return func(*args, **(kwargs or {}))


def _network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.1), nn.Flatten(), nn.Linear(144, 3))


def _split(device: str) -> Split:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (64, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures.to(device), torch.randint(0, 3, (64,), generator=generator).to(device))


def _train(config: TrainConfig, options: Options, device: str) -> None:
    step = TrainStep(_network().to(device), config, torch.device(device), options)
    for index, batch in enumerate(Batches(_split(device), 16, 0, config.augment, channels_last=True).epoch(0)):
        step(index, 4, *batch)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_with_everything_on_reads_nothing(precision: Any, optimizer: Any, given: bool) -> None:
    config = dataclasses.replace(EVERYTHING, precision=precision, optimizer=optimizer)
    options = Options(teacher=Teacher(_network()), stepper=WholeNetwork if given else None)
    with _Questions() as questions:
        _train(config, options, "cpu")
    assert questions.asked == []


def test_a_question_would_be_heard() -> None:
    with _Questions() as questions:
        torch.ones(1).item()
    assert questions.asked == ["aten::_local_scalar_dense"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_cuda_says_so_too(precision: Any) -> None:
    config, options = dataclasses.replace(EVERYTHING, precision=precision), Options(teacher=Teacher(_network()))
    _train(config, options, "cuda")  # the first pass may wait: libraries start
    step = TrainStep(_network().cuda(), config, torch.device("cuda"), options)
    batches = Batches(_split("cuda"), 16, 0, config.augment, channels_last=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index, batch in enumerate(batches.epoch(0)):
            step(index, 4, *batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
