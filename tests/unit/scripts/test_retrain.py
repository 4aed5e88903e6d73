"""The command that a search leaves to train its networks for longer is of the images that it searched with."""

import importlib
import shlex
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"source": "svhn", "root": None, "seed": 0}, ["data=svhn"]),
        (
            {"source": "street_digits", "root": "my data", "seed": 3},
            ["data=street_digits", "data.root=my data", "data.seed=3"],
        ),
    ],
)
def test_where_images_lie_and_which_they_are_is_said(data, words, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(SCRIPTS))
    command = importlib.import_module("search").retrain_command(data)
    assert shlex.split(command)[2:] == ["arch_file={arch}", *words, "trainer.epochs=20"]
