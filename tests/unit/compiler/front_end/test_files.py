"""The stage's command: what it is given and cannot use is told in one line."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.compiler.front_end.__main__ import main
from nas.core.errors import InputError
from nas.ir.schema import read_arrays, read_program

STAGE = {"block": "conv", "depth": 1, "width": 4}
ARCH = {"model": "searchable", "image_size_px": 8, "stem_width": 4, "stages": [STAGE]}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["front_end", "models:build", *arguments])
    main()


def staged(**fields: int) -> str:
    return json.dumps({**ARCH, "stages": [{**STAGE, **fields}]})


def test_the_files_of_a_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch = tmp_path / "arch.json"
    arch.write_text(json.dumps(ARCH))
    run(monkeypatch, str(tmp_path), "--arch", str(arch), "--shape", "1x3x8x8")
    assert read_program(tmp_path / "cmds.json").inputs[0].region.shape == (1, 3, 8, 8)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (staged(width=1 << 16, depth=2, kernel=11), "expected what the callable takes, got "),
        ("[1]", "expected a file with a JSON object, got "),
        ("null", "expected a file with a JSON object, got "),
        ('"x"', "expected a file with a JSON object, got "),
        ("[" * 100_000, "expected a file with a JSON object, got "),
        ('{"a":' * 100_000, "expected a file with a JSON object, got "),
        ("", "expected a file with a JSON object, got "),
        ("{}", "expected what the callable takes, got model: expected a known network"),
        (staged(depth=1_000_000_000), "depth must be at most 1024, got 1000000000"),
        (staged(width=1_000_000_000), "width must be at most 65536, got 1000000000"),
        (staged(expansion=1_000_000_000), "expansion must be at most 65536, got 1000000000"),
        (json.dumps({**ARCH, "head_width": 1_000_000_000}), "head_width must be at most 65536, got 1000000000"),
    ],
    ids=[
        "memory",
        "list",
        "null",
        "text",
        "lists",
        "objects",
        "nothing",
        "no model",
        "depth",
        "width",
        "expansion",
        "head",
    ],
)
def test_descriptions_of_nothing_that_can_be_built(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arch = tmp_path / "arch.json"
    arch.write_text(text)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, str(tmp_path), "--arch", str(arch), "--shape", "1x3x8x8")
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"error: {arch}: ")
    assert told in said


@pytest.mark.parametrize("shape", ["1,3,32,32", "3", "0x3", "1x-3", "1x", "1x" + "9" * 5_000, "1.5x3"])
def test_a_shape_that_is_none(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, str(tmp_path), "--shape", shape)
    assert "argument --shape: expected sizes such as 1x3x32x32, got" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_types_that_numpy_does_not_have(kind: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.zeros(4).to(kind)}, path)
    with pytest.raises(InputError, match=r"weights\.safetensors: expected arrays of types that numpy has, got "):
        read_arrays(path)
