"""What `auto` takes on which processor."""

from pathlib import Path

import pytest
import torch

from nas.core.errors import InputError
from nas.train.machine.device import device_of
from nas.train.recipe.precision import autocast_dtype, cpu_multiplies_bfloat16


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu vme avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu amx_bf16", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu vme avx512f avx2", False),
        ("model name\t: avx512_bf16", False),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_flags(tmp_path: Path, line: str, expected: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")
    assert cpu_multiplies_bfloat16(path) is expected


def test_without_a_list_of_flags_there_is_none(tmp_path: Path) -> None:
    assert cpu_multiplies_bfloat16(tmp_path / "missing") is False


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert autocast_dtype("float32", torch.device("cpu")) is torch.float32
    assert autocast_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    assert autocast_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("name", ["gpu", "cuda:4711", ""])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="trainer: device: expected"):
        device_of(name)
