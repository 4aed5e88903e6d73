"""One step: in parts as in one, and no longer than the norm that it is clipped to."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.train.config import TrainConfig
from nas.train.options import Options
from nas.train.recipe.distillation import Teacher
from nas.train.recipe.mixing import MixConfig
from nas.train.step import TrainStep

PLAIN = TrainConfig(
    batch_size=12, optimizer="sgd", learning_rate=0.5, momentum=0.0, weight_decay=0.0, precision="float32"
)
IMAGES = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (12,), generator=torch.Generator().manual_seed(1))


def _network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def _stepped(config: TrainConfig, options: Options | None = None, scale: float = 1.0) -> tuple[list[Tensor], float]:
    """The changes of the weights in one step, and its loss."""
    network = _network()
    before = [weight.detach().clone() for weight in network.parameters()]
    loss = TrainStep(network, config, torch.device("cpu"), options or Options())(0, 1, IMAGES * scale, LABELS)
    return [weight.detach() - old for weight, old in zip(network.parameters(), before, strict=True)], loss.item()


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_a_batch_in_parts_is_the_batch(parts: int) -> None:
    """Without batch norms, whose statistics are those of a part."""
    mixing = MixConfig(mixup_alpha=0.5, cutmix_alpha=1.0)
    config = dataclasses.replace(PLAIN, label_smoothing=0.1, mix=mixing)
    options = Options(teacher=Teacher(_network(1)))
    whole, loss = _stepped(config, options)
    pieces, loss_of_pieces = _stepped(dataclasses.replace(config, accumulate=parts), options)
    assert loss_of_pieces == pytest.approx(loss, rel=1e-5)
    for one, other in zip(pieces, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_clipping_shortens_what_is_too_long_and_keeps_its_direction() -> None:
    free, _ = _stepped(PLAIN, scale=30.0)
    norm = torch.cat([change.flatten() for change in free]).norm() / 0.5  # changes are the rate times the gradients
    assert norm > 1.0
    clipped, _ = _stepped(dataclasses.replace(PLAIN, clip_norm=0.25), scale=30.0)
    for one, other in zip(clipped, free, strict=True):
        torch.testing.assert_close(one, other * (0.25 / norm), rtol=1e-4, atol=1e-7)
    loose, _ = _stepped(dataclasses.replace(PLAIN, clip_norm=1e6), scale=30.0)
    assert all(torch.equal(one, other) for one, other in zip(loose, free, strict=True))


@pytest.mark.parametrize("parts", [0, 5, 12])
def test_parts_must_divide_the_batch(parts: int) -> None:
    with pytest.raises(InputError, match="accumulate: expected a divisor of batch_size 12"):
        dataclasses.replace(PLAIN, accumulate=parts)
