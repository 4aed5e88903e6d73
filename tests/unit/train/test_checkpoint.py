"""Bit for bit there and back; and whatever moment a kill comes, the folder holds a good checkpoint."""

from pathlib import Path

import pytest
import torch

from nas.core.errors import InputError
from nas.train.state import checkpoint
from nas.train.state.checkpoint import Progress, load_checkpoint, save_checkpoint


def _progress(step: int) -> Progress:
    return Progress(step, 1.5, 0.1 + 0.2, 3, False, [{"step": 1}], {}, {"seed": 4, "precision": "auto"})


def _tensors(value: float) -> dict[str, torch.Tensor]:
    return {
        "model/weight": torch.full((2, 3, 4, 4), value).to(memory_format=torch.channels_last),
        "model/half": torch.tensor([value, float("nan"), float("-inf")], dtype=torch.bfloat16),
        "rng/cpu": torch.arange(7, dtype=torch.uint8),
    }


def test_there_and_back(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, _progress(5), _tensors(1 / 3))
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    progress, tensors = loaded
    assert progress == _progress(5)
    assert set(tensors) == set(_tensors(0))
    for name, tensor in _tensors(1 / 3).items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_only_the_last_one_is_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, _progress(step), _tensors(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000003.safetensors", "checkpoint.json"]


@pytest.mark.parametrize("victim", ["save_tensors", "write_json"])
def test_a_kill_while_saving_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    save_checkpoint(tmp_path, _progress(1), _tensors(1.0))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, victim, killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, _progress(2), _tensors(2.0))
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0].step == 1
    assert float(loaded[1]["model/weight"].mean()) == 1.0
    # The next save clears away what the kill left, a half-written temporary file included.
    (tmp_path / ".checkpoint-00000002.safetensors.x1.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, _progress(3), _tensors(3.0))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_tensor_file_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _progress(1), _tensors(1.0))
    path = tmp_path / "checkpoint-00000001.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"checkpoint-00000001\.safetensors: expected a readable safetensors file"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_does_not_read_outside_its_folder(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _progress(1), _tensors(1.0))
    path = tmp_path / "checkpoint.json"
    path.write_text(path.read_text().replace('"checkpoint-', '"../checkpoint-'))
    with pytest.raises(InputError, match="a file name without folders"):
        load_checkpoint(tmp_path)
