"""The loop: it learns, repeats itself, resumes to the same bits, and stops where it must."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.data.augment import AugmentConfig
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.options import Options
from nas.train.recipe.early_stop import EarlyStopConfig
from nas.train.recipe.mixing import MixConfig
from nas.train.recipe.optimizer import build_optimizer
from nas.train.state.result import DivergedError, TrainResult
from nas.train.trainer import train

CONFIG = TrainConfig(
    epochs=3, batch_size=16, learning_rate=0.01, checkpoint_every_s=1e-9, augment=AugmentConfig(shift_px=1)
)


class _Network(nn.Module):
    """Convolution, batch norm, dropout (which draws from torch's generator) and a linear layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4),
                nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 4),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def _split(images: int, seed: int) -> Split:
    """Four classes: which quarter of the picture is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (images,), generator=generator)
    pictures = torch.randint(0, 120, (images, 1, 8, 8), generator=generator)
    for picture, label in zip(pictures, labels.tolist(), strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        picture[0, row : row + 4, column : column + 4] += 100
    return Split(pictures.to(torch.uint8), labels)


TRAIN, VALIDATION = _split(170, 1), _split(80, 2)


def _same(first: TrainResult, second: TrainResult) -> bool:
    return (first.curve, first.error, first.steps) == (second.curve, second.error, second.steps)


def _equal_weights(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_learns(optimizer: str, precision: str) -> None:
    rate = 0.01 if optimizer == "adamw" else 0.1
    config = dataclasses.replace(CONFIG, epochs=8, optimizer=optimizer, learning_rate=rate, precision=precision)
    result = train(_Network(), TRAIN, VALIDATION, config)
    assert result.error.rate < 0.1
    assert result.steps == 80
    assert [point.step for point in result.curve] == list(range(10, 81, 10))
    assert result.curve[-1].loss < result.curve[0].loss / 2
    assert result.parameters == 72 + 16 + 132
    assert result.images_per_s > 0


def test_the_same_seed_repeats_and_touches_no_global_state() -> None:
    first, second, other = _Network(), _Network(), _Network()
    before = torch.get_rng_state()
    results = [train(first, TRAIN, VALIDATION, CONFIG)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    results.append(train(second, TRAIN, VALIDATION, CONFIG))
    assert _same(*results)
    assert _equal_weights(first, second)
    assert not _same(results[0], train(other, TRAIN, VALIDATION, dataclasses.replace(CONFIG, seed=1)))


class _Kill(Exception):
    pass


class _KillAt:
    """An observer in whose hands the training dies."""

    def __init__(self, step: int) -> None:
        self.step = step

    def scalar(self, name: str, value: float, step: int) -> None:
        del name, value, step

    def progress(self, step: int, steps: int, images_per_s: float, eta_s: float, loss: float) -> None:
        del steps, images_per_s, eta_s, loss
        if step >= self.step:
            raise _Kill


EVERYTHING = {
    "accumulate": 2, "ema_decay": 0.9, "mix": MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0, probability=0.9),
    "clip_norm": 1.0, "early_stop": EarlyStopConfig(evaluations=3), "schedule": "triangular",
}  # fmt: skip


@pytest.mark.parametrize("extras", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_killed_run_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, channels_last: bool, extras: dict[str, Any]
) -> None:
    monkeypatch.setattr("nas.train.trainer._REPORT_EVERY_S", 0.0)  # report, and so save, after every step
    config = dataclasses.replace(CONFIG, optimizer=optimizer, channels_last=channels_last, **extras)
    whole = _Network()
    expected = train(whole, TRAIN, VALIDATION, config)
    for step, seed in ((4, 0), (13, 7), (27, 8)):  # what is resumed replaces the weights
        with pytest.raises(_Kill):
            train(_Network(seed), TRAIN, VALIDATION, config, tmp_path, Options(_KillAt(step)))
    pieces = _Network(seed=99)
    got = train(pieces, TRAIN, VALIDATION, config, tmp_path)
    assert _same(got, expected)
    assert _equal_weights(pieces, whole)
    # A finished run is told again, not trained again.
    again = _Network(seed=98)
    assert _same(train(again, TRAIN, VALIDATION, config, tmp_path, Options(_KillAt(0))), expected)
    assert _equal_weights(again, whole)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(_Network(), TRAIN, VALIDATION, CONFIG, tmp_path)
    with pytest.raises(InputError, match=r"learning_rate: expected 0\.01, got 0\.5 .*another run"):
        train(_Network(), TRAIN, VALIDATION, dataclasses.replace(CONFIG, learning_rate=0.5), tmp_path)
    shape = dataclasses.replace(CONFIG.shape, cycles=3)
    other = dataclasses.replace(CONFIG, epochs=9.0, schedule="cosine", shape=shape)
    for config, said in (
        (other, r"epochs: expected \S+, got 9\.0"),
        (dataclasses.replace(CONFIG, shape=shape), r"shape\.cycles: expected 1, got 3"),
    ):
        with pytest.raises(InputError, match=said):  # the first in the order of the configuration, and by its own name
            train(_Network(), TRAIN, VALIDATION, config, tmp_path)
    network = _Network()
    network.layers[2] = nn.ReLU6()
    with pytest.raises(InputError, match="network: expected"):
        train(network, TRAIN, VALIDATION, CONFIG, tmp_path)
    # How often to save, and where to compute, may change.
    train(_Network(), TRAIN, VALIDATION, dataclasses.replace(CONFIG, checkpoint_every_s=9.0, device="cpu"), tmp_path)


Tensors = dict[str, Tensor]
DAMAGES: dict[str, tuple[Callable[[dict[str, Any], Tensors], Any], str]] = {
    "a point of the curve without its loss": (
        lambda p, t: p["curve"][0].pop("loss"),
        r"progress\.curve\[0\]: expected a field",
    ),
    "a curve of numbers": (lambda p, t: p.update(curve=[1]), r"progress\.curve\[0\]: expected `object`"),
    "no curve at the end": (lambda p, t: p.update(curve=[]), r"progress\.curve: expected a point at the end"),
    "a step below 0": (lambda p, t: p.update(step=-1), r"progress\.step: expected `int` >= 0"),
    "seconds below 0": (lambda p, t: p.update(seconds=-1.0), r"progress\.seconds: expected `float` >= 0"),
    "no weight": (lambda p, t: t.pop("model/layers.6.bias"), "the part 'model'.*layers.6.bias"),
    "a weight of another shape": (
        lambda p, t: t.update({"model/layers.6.bias": torch.zeros(3, 5)}),
        "the part 'model'",
    ),
    "no moment": (lambda p, t: t.pop("optimizer/0/exp_avg"), "the part 'optimizer'.*0: expected step, exp_avg, "),
    "a moment of another shape": (
        lambda p, t: t.update({"optimizer/1/exp_avg": torch.zeros(3, 5)}),
        r"the part 'optimizer'.*1/exp_avg: expected the shape \(4, 32\), got \(3, 5\)",
    ),
    "a moment of no parameter": (
        lambda p, t: t.update({"optimizer/99/exp_avg": torch.zeros(3)}),
        "the part 'optimizer'.*99/exp_avg: expected .* of one of 5 parameters",
    ),
    "a moment of no number": (
        lambda p, t: t.update({"optimizer/x/step": torch.zeros(())}),
        "the part 'optimizer'.*x/step",
    ),
    "no state of the generator": (lambda p, t: t.pop("rng/cpu"), "the part 'rng'.*KeyError: 'cpu'"),
    "no state of a generator": (lambda p, t: t.update({"rng/cpu": torch.zeros(3, 5)}), "the part 'rng'"),
    "averages without their count": (lambda p, t: p["parts"].pop("ema"), "the part 'ema'.*KeyError: 'updates'"),
    "averages of a count below 0": (
        lambda p, t: p["parts"]["ema"].update(updates=-10),
        "the part 'ema'.*updates: expected",
    ),
    "best weights of another network": (
        lambda p, t: t.pop("best/layers.6.bias"),
        "the part 'best'.*best weights of this",
    ),
    "a lowest error of no number": (lambda p, t: p["parts"]["best"].update(lowest="x"), "the part 'best'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_by_file_and_field(damage: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, ema_decay=0.9, early_stop=EarlyStopConfig(evaluations=3))
    train(_Network(), TRAIN, VALIDATION, config, tmp_path)
    path = tmp_path / "checkpoint.json"
    document = json.loads(path.read_text())
    tensors = load_file(tmp_path / document["value"]["tensors"])
    change, told = DAMAGES[damage]
    change(document["value"]["progress"], tensors)
    path.write_text(json.dumps(document))
    save_file(tensors, tmp_path / document["value"]["tensors"])
    with pytest.raises(InputError, match=f"^{path}: {told}"):
        train(_Network(), TRAIN, VALIDATION, config, tmp_path)


class _NanAt(nn.Module):
    def __init__(self, call: int) -> None:
        super().__init__()
        self.network, self.call, self.calls = _Network(), call, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        logits: Tensor = self.network(x)
        return logits * float("nan") if self.calls == self.call else logits


def test_divergence_names_its_step_and_saves_nothing_bad(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="got nan at step 7 of 30"):
        train(_NanAt(7), TRAIN, VALIDATION, CONFIG, tmp_path)
    assert not list(tmp_path.iterdir())


def test_should_stop_is_asked_after_each_evaluation_and_stops(tmp_path: Path) -> None:
    asked: list[tuple[int, float]] = []

    def should_stop(step: int, error: float) -> bool:
        asked.append((step, error))
        return step >= 20

    result = train(_Network(), TRAIN, VALIDATION, CONFIG, tmp_path, Options(should_stop=should_stop))
    assert [step for step, _ in asked] == [10, 20]
    assert result.stopped
    assert result.steps == 20
    assert len(result.curve) == 2
    assert _same(train(_Network(), TRAIN, VALIDATION, CONFIG, tmp_path), result), "a stopped run stays stopped"


def test_a_fraction_of_an_epoch_and_a_single_evaluation() -> None:
    config = dataclasses.replace(CONFIG, epochs=0.5, evaluate_every_epochs=0)
    result = train(_Network(), TRAIN, VALIDATION, config)
    assert result.steps == 5
    assert [point.step for point in result.curve] == [5]


def test_a_small_part_of_an_epoch_is_a_step() -> None:
    config = dataclasses.replace(CONFIG, epochs=0.5, evaluate_every_epochs=0.01)
    assert [point.step for point in train(_Network(), TRAIN, VALIDATION, config).curve] == [1, 2, 3, 4, 5]


def test_no_images_to_evaluate_on() -> None:
    with pytest.raises(InputError, match="validation_images: expected at least 1"):
        train(_Network(), TRAIN, _split(0, 1), CONFIG)


def test_too_few_images_for_a_batch() -> None:
    with pytest.raises(InputError, match="at least one batch of 16"):
        train(_Network(), _split(15, 1), VALIDATION, CONFIG)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("epochs", float("nan")), ("batch_size", 1), ("learning_rate", -1.0), ("weight_decay", -0.1),
        ("label_smoothing", 1.0), ("momentum", 1.0), ("ema_decay", -0.1), ("clip_norm", -1), ("accumulate", 3), ("evaluate_every_epochs", -1), ("schedule", "onecycle"),
    ],
)  # fmt: skip
def test_bad_values_name_their_field(field: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        dataclasses.replace(CONFIG, **{field: value})
    assert field in str(caught.value)


def test_weight_decay_spares_norms_and_biases() -> None:
    optimizer = build_optimizer(_Network(), "adamw", 0.1, 0.3)
    shapes = {group["weight_decay"]: [tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups}
    assert shapes == {0.3: [(8, 1, 3, 3), (4, 32)], 0.0: [(8,), (8,), (4,)]}
