"""Learning from a teacher: the loss against its formula, and a student that comes closer to its teacher."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.core.errors import InputError
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.options import Options
from nas.train.recipe.distillation import DistillationConfig, Teacher, distillation_loss
from nas.train.trainer import train


def _softmax(values: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_hintons(temperature: float) -> None:
    student, teacher = [[0.3, -1.0, 2.0], [0.0, 0.5, 1.5]], [[1.0, 0.0, -2.0], [3.0, 0.1, 0.2]]
    expected = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        pairs = zip(_softmax(ours, temperature), _softmax(theirs, temperature), strict=True)
        expected += sum(q * math.log(q / p) for p, q in pairs) * temperature**2 / 2
    got = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature)
    assert math.isclose(float(got), expected, rel_tol=1e-5)
    same = torch.tensor(teacher, dtype=torch.bfloat16)
    assert float(distillation_loss(same, same, temperature)) == pytest.approx(0.0, abs=1e-7)


def test_a_share_of_zero_is_the_labels_alone_and_of_one_the_teacher() -> None:
    network = nn.Linear(4, 3)
    images, logits = torch.rand(2, 4), torch.rand(2, 3)
    loss = torch.tensor(1.25)
    taught = Teacher(network).logits(images)
    assert not taught.requires_grad
    assert float(Teacher(network, DistillationConfig(share=0.0)).mixed(loss, logits, taught)) == 1.25
    alone = Teacher(network, DistillationConfig(share=1.0)).mixed(loss, logits, taught)
    torch.testing.assert_close(alone, distillation_loss(logits, taught, 4.0))
    with pytest.raises(InputError, match=r"teacher: logits: expected shape \(2, 3\), got \(2, 4\)"):
        Teacher(network).mixed(loss, logits, torch.rand(2, 4))


@pytest.mark.parametrize(("fields", "message"), [({"temperature": 0.0}, "above 0"), ({"share": 1.5}, "0 to 1")])
def test_settings_out_of_range_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DistillationConfig(**fields)


def _split(seed: int, images: int = 192) -> Split:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures, torch.randint(0, 4, (images,), generator=generator))


def _network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


CONFIG = TrainConfig(
    epochs=12, batch_size=32, precision="float32", channels_last=False, evaluate_every_epochs=0, device="cpu"
)


def test_a_student_agrees_with_its_teacher_and_a_resumed_run_must_have_the_same(tmp_path: Path) -> None:
    """The labels are noise: only the teacher can be learnt from."""
    teacher = Teacher(_network(1), DistillationConfig(share=1.0))
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    taught, alone = _network(2), _network(2)
    result = train(taught, _split(3), _split(4), CONFIG, tmp_path, Options(teacher=teacher))
    train(alone, _split(3), _split(4), CONFIG)
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())
    images = _split(3).images.float() / 255
    answers = teacher.logits(images).argmax(1)
    agreement = [float((network.eval()(images).argmax(1) == answers).float().mean()) for network in (taught, alone)]
    assert agreement[0] > agreement[1] + 0.2
    again = train(_network(5), _split(3), _split(4), CONFIG, tmp_path, Options(teacher=teacher))
    assert again.curve == result.curve, "a finished run is not trained again"
    with pytest.raises(InputError, match="teacher"):
        train(_network(2), _split(3), _split(4), CONFIG, tmp_path, Options(teacher=Teacher(_network(9))))
    with pytest.raises(InputError, match="teacher"):
        train(_network(2), _split(3), _split(4), CONFIG, tmp_path)
