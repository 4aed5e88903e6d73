"""What every script says before, beside and instead of its work."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nas.core.errors import CoevoError
from tests.commands import in_a_process

SCRIPTS = Path(__file__).parents[3] / "scripts"
CONF = SCRIPTS.parent / "conf"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.fixture
def scripts_module(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """scripts/ is no package: running one puts its folder on the path, and so do we."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.mark.parametrize("name", NAMES)
def test_help_is_about_the_script_itself(scripts_module, name: str) -> None:  # type: ignore[no-untyped-def]
    page = scripts_module("help_page").help_page(CONF, name, "Do it.")
    root = OmegaConf.load(CONF / f"{name}.yaml")
    own = [key for key in root if key != "defaults"]
    assert [key for key in own if not re.search(rf"^  {key}:", page, re.MULTILINE)] == []
    groups = [key for item in root.get("defaults", []) if OmegaConf.is_dict(item) for key in item]
    listed = re.findall(r"^  (\w+)=\S+ +of ", page, re.MULTILINE)
    assert listed == groups
    assert "defaults:" not in page
    assert "energies" not in page


def test_help_keeps_comments_and_names_the_choices(scripts_module) -> None:  # type: ignore[no-untyped-def]
    page = scripts_module("help_page").help_page(CONF, "train", "Train.")
    assert page.startswith("Train.\n")
    assert "temperature: 4.0  # softens what both say" in page
    assert re.search(r"data=street_digits +of fashion_mnist, street_digits, svhn", page)


def test_help_is_what_a_script_prints(tmp_path: Path) -> None:
    run = in_a_process("train", "--help", here=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "choices, group=choice" in run.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "again"),
    [
        (["trials=3"], ["trials=3", "folder=runs/now"]),
        (["folder=out", "trials=3"], ["folder=out", "trials=3"]),
        (["resume=out"], ["resume=out"]),
    ],
)
def test_what_is_interrupted_goes_on_where_it_was(scripts_module, overrides, again) -> None:  # type: ignore[no-untyped-def]
    config = OmegaConf.from_dotlist(["folder=runs/now", "resume=null", *overrides])
    assert scripts_module("entry").goes_on(config, overrides) == again


@pytest.mark.parametrize("name", NAMES)
def test_a_python_without_the_packages_is_told_what_to_do(name: str) -> None:
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-S", str(SCRIPTS / f"{name}.py")]  # -S: without what is installed
    run = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "run `make install`" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_what_other_packages_say_of_the_input_is_told_as_it_is(scripts_module, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    entry = scripts_module("entry")
    with pytest.raises(CoevoError, match=r"^model: width must be even$"), entry.input_of("model"):
        raise ValueError("width must be even")
    with (
        pytest.raises(CoevoError, match=r"^arch_file=a: expected a file that can be read, got No such"),
        entry.input_of("arch_file=a"),
    ):
        (tmp_path / "a").read_bytes()
