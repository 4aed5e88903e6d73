"""What a finished training leaves in its folder."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nas.core.artifact import read_json
from nas.core.errors import InputError
from nas.data.load import Data
from nas.data.source import DataConfig, Split
from nas.train.config import TrainConfig
from nas.train.run import RESULT_KIND, RESULT_VERSION, RunResult, describe, train_and_test
from nas.train.state.settings import hold_settings


def _split(images: int) -> Split:
    generator = torch.Generator().manual_seed(images)
    pictures = torch.randint(0, 256, (images, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Split(pictures, (pictures[:, 0, 0, 0] > 127).long())


def test_leaves_weights_and_result(tmp_path: Path) -> None:
    data = Data(_split(64), _split(20), _split(30), classes=2, channels=1, size_px=4, name="bright")
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    result = train_and_test(model, data, TrainConfig(epochs=1, batch_size=16), tmp_path)
    assert result.test.images == 30
    assert result.train.error.images == 20
    assert read_json(tmp_path / "result.json", RunResult, RESULT_KIND, RESULT_VERSION) == result
    weights = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_a_folder_is_about_one_thing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "arch.json"
    describe(path, "a")
    describe(path, "a")
    with pytest.raises(InputError, match="choose another folder"):
        describe(path, "b")


def test_a_folder_goes_on_with_the_same_images_alone(tmp_path: Path) -> None:
    def run(config: DataConfig) -> RunResult:
        data = Data(_split(64), _split(20), _split(30), 2, 1, 4, "bright", config.identity())
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        return train_and_test(model, data, TrainConfig(epochs=1, batch_size=16), tmp_path)

    first = run(DataConfig(root="here", test_images=30))
    again = run(DataConfig(root="there", test_images=30))  # where files lie does not matter
    assert (again.test, again.train.curve) == (first.test, first.train.curve)
    for changed, message in (
        (DataConfig(seed=1, test_images=30), r"data\.seed: expected 0, got 1 .*choose another folder"),
        (DataConfig(validation_images=32, test_images=30), r"data\.validation_images: expected 5000, got 32"),
        (DataConfig(), r"data\.test_images: expected 30, got None"),
    ):
        with pytest.raises(InputError, match=message):
            run(changed)
    assert read_json(tmp_path / "result.json", RunResult, RESULT_KIND, RESULT_VERSION) == again


def test_a_folder_without_settings_takes_those_of_now(tmp_path: Path) -> None:
    hold_settings(tmp_path, {"data": {"seed": 1}, "start": None, "widths": (1, 2)})
    hold_settings(tmp_path, {"data": {"seed": 1}, "start": None, "widths": [1, 2]})
    with pytest.raises(InputError, match="start: expected None, got 'weights'"):
        hold_settings(tmp_path, {"data": {"seed": 1}, "start": "weights", "widths": [1, 2]})
    with pytest.raises(InputError, match=r"data\.seed: expected 1, got None"):
        hold_settings(tmp_path, {"start": None, "widths": [1, 2]})
