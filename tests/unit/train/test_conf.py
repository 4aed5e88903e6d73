"""conf/trainer lists every field of the configuration, with the defaults that its text names, and nothing else."""

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import conf
from nas.core.config import from_config, load_yaml
from nas.core.errors import InputError
from nas.train.config import TrainConfig

FILES = sorted((Path(str(conf.__file__)).parent / "trainer").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_is_there(path: Path) -> None:
    plain = load_yaml(path)
    chosen = from_config(OmegaConf.create(plain), TrainConfig, path)
    assert plain.keys() == {field.name for field in dataclasses.fields(TrainConfig)} - {"augment"}
    for name, value in plain.items():
        if isinstance(value, dict):
            assert value.keys() == {field.name for field in dataclasses.fields(getattr(chosen, name))}
            assert getattr(chosen, name) == type(getattr(chosen, name))(), f"{name}: what is extra is off by default"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_line_says_what_it_means(path: Path) -> None:
    bare = [line for line in path.read_text().splitlines() if "#" not in line]
    assert {line.partition(":")[0] for line in bare} <= {"epochs", "seed", "batch_size"}


@pytest.mark.parametrize("name", ["epochs", "learning_rate", "weight_decay", "clip_norm", "evaluate_every_epochs"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_numbers_without_an_end_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"trainer: {name}: expected a finite number"):
        TrainConfig(**{name: value})
