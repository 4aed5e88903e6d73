"""The files of conf/data name every field, and nothing else."""

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import conf
from nas.core.config import from_config
from nas.data.augment import AugmentConfig
from nas.data.load import SOURCES
from nas.data.source import DataConfig

FOLDER = Path(conf.__path__[0]) / "data"


def test_there_is_one_file_a_source() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SOURCES)


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_file_names_every_field(name: str) -> None:
    keys = OmegaConf.load(FOLDER / f"{name}.yaml")
    assert list(keys) == [field.name for field in dataclasses.fields(DataConfig)]
    assert list(keys.augment) == [field.name for field in dataclasses.fields(AugmentConfig)]
    config = from_config(keys, DataConfig, f"data/{name}")
    assert config.source == name


def test_digits_are_never_mirrored() -> None:
    for name in ("street_digits", "svhn"):
        assert OmegaConf.load(FOLDER / f"{name}.yaml").augment.flip_probability == 0
