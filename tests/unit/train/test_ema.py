"""The average against its formula; a run that is averaged evaluates, keeps and resumes the average."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nas.core.errors import InputError
from nas.data.load import Data
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.recipe.ema import Ema
from nas.train.recipe.metrics import evaluate
from nas.train.run import train_and_test
from nas.train.state.transfer import read_weights
from nas.train.trainer import train

CONFIG = TrainConfig(epochs=2, batch_size=16, precision="float32", ema_decay=0.9)


def _network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def _split(images: int) -> Split:
    generator = torch.Generator().manual_seed(images)
    pictures = torch.randint(0, 256, (images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures, (pictures[:, 0, :4].float().mean((1, 2)) > 127).long())


def test_the_average_is_the_formula_with_a_warm_up() -> None:
    network = nn.Linear(1, 1, bias=False)
    ema = Ema(network, 0.5)
    expected = network.weight.item()
    for n in range(20):
        with torch.no_grad():
            network.weight.fill_(n * n)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n * n
        ema.update()
        assert ema.network.weight.item() == pytest.approx(expected, rel=1e-5)


def test_buffers_are_copied_and_the_network_is_not_touched() -> None:
    network = _network().train()
    ema = Ema(network, 0.99)
    network(torch.rand(16, 1, 8, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ema.update()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    for name, value in network.named_buffers():
        assert torch.equal(dict(ema.network.named_buffers())[name], value)
    assert not ema.network.training


def test_tied_weights_stay_tied() -> None:
    network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    network[1].weight = network[0].weight
    ema = Ema(network, 0.9)
    with torch.no_grad():
        network[0].weight.add_(1.0)
    ema.update()
    assert ema.network[0].weight is ema.network[1].weight  # type: ignore[index]


def test_the_average_is_evaluated_and_kept(tmp_path: Path) -> None:
    data = Data(_split(128), _split(70), _split(60), classes=2, channels=1, size_px=8, name="halves")
    plain, averaged = _network(), _network()
    train(plain, data.train, data.validation, dataclasses.replace(CONFIG, ema_decay=0.0))
    result = train_and_test(averaged, data, CONFIG, tmp_path)
    assert not torch.equal(plain[1].weight, averaged[1].weight)
    assert evaluate(averaged, data.validation) == result.train.error
    assert evaluate(averaged, data.test) == result.test
    kept = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in averaged.state_dict().items())
    # The training itself went its way as without an average; its weights are in the checkpoint beside it.
    both = load_file(next(tmp_path.glob("checkpoint-*.safetensors")))
    assert torch.equal(both["model/1.weight"], plain[1].weight)
    assert torch.equal(both["ema/1.weight"], averaged[1].weight)
    (tmp_path / "model.safetensors").unlink()
    assert torch.equal(read_weights(tmp_path)["1.weight"], averaged[1].weight)
    again = _network()
    assert train(again, data.train, data.validation, CONFIG, tmp_path).curve == result.train.curve
    assert torch.equal(again[1].weight, averaged[1].weight)


def test_a_decay_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="ema_decay: expected 0 <= decay < 1"):
        dataclasses.replace(CONFIG, ema_decay=1.0)
