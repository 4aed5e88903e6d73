"""scripts/compile.py as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/compile.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_any_network_at_any_size_and_batch_is_compiled_and_reported(tmp_path: Path) -> None:
    ended = run("model=mobilenet_v2", "image_size_px=48", "classes=7", "batch=2", f"folder={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    assert "x the lower bound" in ended.stdout
    assert json.loads((tmp_path / "cmds-o-par.json").read_text())
    assert (tmp_path / "timeline.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("batch=0", "compile: batch: expected `int` >= 1, got a value outside of that"),
        ("image_size_px=abc", "compile: image_size_px: expected `int | null`, got `str`"),
    ],
)
def test_bad_numbers_are_told_in_one_line(argument: str, told: str, tmp_path: Path) -> None:
    ended = run(argument, f"folder={tmp_path}")
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
