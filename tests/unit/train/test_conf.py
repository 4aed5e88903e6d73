"""conf/trainer lists every field of the configuration, with the defaults that its text names, and nothing else."""

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import conf
from nas.core.config import from_config, load_yaml
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
