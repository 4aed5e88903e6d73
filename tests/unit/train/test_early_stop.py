"""Patience is counted in evaluations, and what is kept is the best, not the last."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.core.errors import InputError
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.recipe.early_stop import EarlyStop, EarlyStopConfig
from nas.train.recipe.metrics import evaluate
from nas.train.trainer import train


def _told(errors: list[float], config: EarlyStopConfig) -> tuple[list[bool], float]:
    """The answers to `errors`, and which of them the kept weights are of."""
    network = nn.Linear(1, 1, bias=False)
    stop, answers = EarlyStop(network, config), []
    for error in errors:
        with torch.no_grad():
            network.weight.fill_(error)
        answers.append(stop.should_stop(error))
    return answers, stop.best()["weight"].item()


def test_patience_begins_anew_with_every_better_error() -> None:
    answers, best = _told([0.5, 0.6, 0.4, 0.45, 0.4, 0.3, 0.3, 0.3], EarlyStopConfig(evaluations=2))
    assert answers == [False, False, False, False, True, False, False, True]
    assert best == pytest.approx(0.3)


def test_a_gain_below_min_delta_is_kept_but_buys_no_patience() -> None:
    answers, best = _told([0.5, 0.49, 0.48], EarlyStopConfig(evaluations=2, min_delta=0.1))
    assert answers == [False, False, True]
    assert best == pytest.approx(0.48)
    # Small gains add up: what counts is the last one that was large enough.
    answers, _ = _told([0.5, 0.45, 0.39, 0.35], EarlyStopConfig(evaluations=2, min_delta=0.1))
    assert answers == [False, False, False, False]


def _network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))


def test_a_training_stops_with_its_best_weights(tmp_path: Path) -> None:
    """Labels are noise and the rate is too high: the error wanders."""
    generator = torch.Generator().manual_seed(0)
    splits = [
        Split(
            torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8),
            torch.randint(0, 2, (count,), generator=generator),
        )
        for count in (64, 60)
    ]
    config = TrainConfig(
        epochs=40, batch_size=16, learning_rate=0.3, precision="float32", early_stop=EarlyStopConfig(evaluations=4)
    )
    network = _network(0)
    result = train(network, *splits, config, tmp_path)
    errors = [point.error.rate for point in result.curve]
    assert result.stopped
    assert result.steps < 160
    assert errors.index(min(errors)) == len(errors) - 5, "stops after four that are not better"
    assert result.error.rate == min(errors) < errors[-1]
    assert evaluate(network, splits[1]) == result.error
    other = _network(1)
    again = train(other, *splits, config, tmp_path)
    assert again.error == result.error
    assert torch.equal(other[1].weight, network[1].weight)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="min_delta: expected 0 or more"):
        dataclasses.replace(EarlyStopConfig(), min_delta=-0.1)
