"""scripts/compile.py as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nas.compiler.files import CompiledFiles
from nas.ir.schema import read_arrays, read_par_program, read_program
from nas.sim.values import run_values, run_values_parallel
from tests.commands import ROOT, Ended, in_a_process, inside, module_inside


def run(*arguments: str, here: Path = ROOT) -> Ended:
    return inside("compile", *arguments, here=here)


def test_any_network_at_any_size_and_batch_is_compiled_and_reported(tmp_path: Path) -> None:
    given = ["model=mobilenet_v2", "image_size_px=48", "classes=7", "batch=2", f"folder={tmp_path}"]
    ended = in_a_process("compile", *given, here=ROOT)
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


TWO_INPUTS = """
import torch
from torch import nn


class Conditioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.scale = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(5, 8)

    def forward(self, image, features):
        return torch.relu(self.stem(image) * self.scale(features)[:, :, None, None])


build = Conditioned
"""


def test_a_module_of_several_inputs_goes_through_every_stage(tmp_path: Path) -> None:
    """The script's files, and the stages' own, are read back, and give what torch gives."""
    (tmp_path / "two.py").write_text(TWO_INPUTS)
    given = ["module=two:build", "batch=2", "quantise=int8", "hardware=quad_npu", "folder=out", "explain=stem"]
    ended = run(*given, "shape=[3x8x9,5]", here=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "x the lower bound" in ended.stdout
    shapes = ["--shape", "2x3x8x9", "--shape", "2x5"]
    for stage in (
        ["nas.compiler.front_end", "two", "staged", *shapes, "--hardware", "quad_npu"],
        ["nas.compiler.opt", "staged/cmds.json", "staged/cmds-o.json"],
        ["nas.compiler.opt", "out/cmds.json", "out/cmds-o.json"],
        ["nas.compiler.parallel", "staged/cmds-o.json", "staged/cmds-o-par.json"],
        ["nas.compiler.parallel", "out/cmds-o.json", "out/cmds-o-par.json"],
    ):
        ended = module_inside(*stage, here=tmp_path)
        assert ended.returncode == 0, ended.stderr
    for folder, least in (("staged", 1 - 1e-9), ("out", 0.98)):
        files = CompiledFiles(tmp_path / folder)
        program, truth = read_program(files.optimised), read_arrays(files.truth)
        names = [binding.name for binding in program.inputs]
        assert names == ["image", "features"]
        inputs = {name: truth.pop(name) for name in names}
        ((output, expected),) = truth.items()
        sequential = run_values(program, read_arrays(files.weights), inputs)[output]
        assert np.corrcoef(sequential.reshape(-1), expected.reshape(-1))[0, 1] > least
        weights = files.parallel_weights if files.parallel_weights.exists() else files.weights
        order = np.random.default_rng(0)
        parallel = run_values_parallel(read_par_program(files.parallel), read_arrays(weights), inputs, order)
        np.testing.assert_array_equal(parallel[output], sequential)
    ended = run(*given, "shape=3x8x9", here=tmp_path)
    assert ended.returncode == 2
    assert "missing 1 required positional argument: 'features'" in ended.stderr


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("batch=0", "compile: batch: expected `int` >= 1, got a value outside of that"),
        ("image_size_px=abc", "compile: image_size_px: expected `int | null`, got `str`"),
        ("module=my_net:build", "compile: shape: expected a module and the shape of its input, such as 3x32x32"),
        ("shape=[3x8,3x0]", "compile: shape[1]: expected"),
        ("shape=[]", "compile: shape: expected `array` of length >= 1, got"),
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
