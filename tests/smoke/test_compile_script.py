"""scripts/compile.py as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]


def run(*arguments: str, here: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/compile.py"), *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, check=False, timeout=300)


def test_any_network_at_any_size_and_batch_is_compiled_and_reported(tmp_path: Path) -> None:
    ended = run("model=mobilenet_v2", "image_size_px=48", "classes=7", "batch=2", f"folder={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    assert "x the lower bound" in ended.stdout
    assert json.loads((tmp_path / "cmds-o-par.json").read_text())
    assert (tmp_path / "timeline.png").stat().st_size > 1000


def test_a_module_of_the_users_own_is_found_where_they_are(tmp_path: Path) -> None:
    source = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.LSTM(7, 5))\n"
    (tmp_path / "my_net.py").write_text(source)
    given = ["module=my_net:build", "shape=2x6x9", "batch=3", "quantise=int8", "folder=out"]
    ended = run(*given, here=tmp_path)
    assert ended.returncode == 2, "an LSTM takes no maps"
    assert "Sequential.2" in ended.stderr
    (tmp_path / "my_net.py").write_text(source.replace(", nn.LSTM(7, 5)", ""))
    ended = run(*given, here=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "x the lower bound" in ended.stdout
    assert json.loads((tmp_path / "out/cmds.json").read_text())["value"]["inputs"][0]["region"]["shape"][0] == 3
    (tmp_path / "my_net.py").write_text("from torch import nn\n\n\ndef build():\n    return nn.Linear(12, 3)\n")
    ended = run("module=my_net", "shape=12", "folder=vectors", here=tmp_path)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("batch=0", "compile: batch: expected `int` >= 1, got a value outside of that"),
        ("image_size_px=abc", "compile: image_size_px: expected `int | null`, got `str`"),
        ("module=my_net:build", "compile: shape: expected a module and the shape of its input, such as 3x32x32"),
        ("arch_file=nope.json", "arch_file=nope.json: expected a file that can be read, got No such file or directory"),
        ("weights_file=README.md", "README.md: expected a readable safetensors file, got "),
    ],
)
def test_bad_input_is_told_in_one_line(argument: str, told: str, tmp_path: Path) -> None:
    ended = run(argument, f"folder={tmp_path}")
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_can_be_neither_read_nor_written_is_told_in_one_line(tmp_path: Path) -> None:
    other, file = tmp_path / "weights.safetensors", tmp_path / "file"
    save_file({"other.weight": torch.zeros(2)}, other)
    file.touch()
    for arguments, told in (
        (
            [f"weights_file={other}", f"folder={tmp_path / 'out'}"],
            f"{other}: expected the weights of exactly this network",
        ),
        ([f"folder={file / 'out'}"], f"{file / 'out' / 'weights.safetensors'}: expected a place where a file can be"),
    ):
        ended = run("model=svhn_net", *arguments)
        assert ended.returncode == 2
        assert told in ended.stderr
        assert "Traceback" not in ended.stderr
