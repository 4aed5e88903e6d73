import shlex
import subprocess
import sys
from pathlib import Path

from nas.core.command import from_here, python_command


def test_a_command_runs_this_python_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "say it.py"
    script.write_text("import sys; print(sys.executable, sys.argv[1])")
    line = python_command(script, "stages=[{width: 8}]")
    said = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"{sys.executable} stages=[{{width: 8}}]"
    assert shlex.split(line)[1] == "scripts/say it.py"


def test_what_lies_here_is_named_from_here_and_a_link_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "python").symlink_to("/usr/bin/env")
    assert from_here(tmp_path / ".venv" / "python") == ".venv/python"
    assert from_here(Path("runs/a")) == "runs/a"
    assert from_here(Path("/elsewhere/b")) == "/elsewhere/b"
