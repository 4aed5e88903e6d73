"""A network and a data set -> a folder with everything that a finished training leaves behind.

model.safetensors   the weights         result.json       `RunResult`
checkpoint.*        to resume from      settings.json     which images it is of
"""

from pathlib import Path

import msgspec
from torch import nn

from nas.core.artifact import read_json, write_bytes, write_json
from nas.core.errors import InputError
from nas.data.load import Data
from nas.train.config import TrainConfig
from nas.train.machine.distributed import current_group
from nas.train.options import Options
from nas.train.recipe.metrics import ErrorRate, evaluate
from nas.train.state.checkpoint import save_tensors
from nas.train.state.result import TrainResult
from nas.train.state.settings import hold_settings
from nas.train.trainer import train

RESULT_KIND, RESULT_VERSION = "train_result", 1


class RunResult(msgspec.Struct, frozen=True):
    """data: the name of the data set. test: the error of images that nothing was chosen by."""

    data: str
    test: ErrorRate
    train: TrainResult


def train_and_test(
    model: nn.Module,
    data: Data,
    config: TrainConfig,
    folder: Path,
    options: Options | None = None,
) -> RunResult:
    """Train `model` on `data`, or go on where `folder` stopped, test it once, and write the folder.

    InputError where the folder is of other images or of another training.
    """
    options = options or Options()
    if current_group().is_first:
        hold_settings(folder, {"data": data.identity})
    trained = train(model, data.train, data.validation, config, folder, options)
    group = current_group()
    test = evaluate(model, data.test, group=group)
    result = RunResult(data.name, test, trained)
    if not group.is_first:
        return result
    options.observer.scalar("test/error", test.rate, trained.steps)
    save_tensors(folder / "model.safetensors", model.state_dict())
    write_json(folder / "result.json", result, RESULT_KIND, RESULT_VERSION)
    return result


def read_result(folder: Path) -> RunResult:
    """What a finished run left in its folder."""
    return read_json(folder / "result.json", RunResult, RESULT_KIND, RESULT_VERSION)


def describe(path: Path, description: str) -> None:
    """Write what the run of a folder is about, once: a folder that is about something else is an `InputError`."""
    if not path.exists():
        write_bytes(path, description.encode())
    elif path.read_text() != description:
        raise InputError(path, "", "the same network as now", "another", "choose another folder for this run")
