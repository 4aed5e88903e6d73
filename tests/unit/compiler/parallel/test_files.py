"""A network for several cores, through its files: they stand alone, and the stage's command makes the same ones."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

import models
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.files import CompiledFiles
from nas.compiler.parallel.__main__ import main
from nas.core.errors import InputError
from nas.hw.load import find_processor
from nas.ir.command import Command
from nas.ir.cores import engine_of_queue
from nas.ir.schema import read_arrays, read_par_program, write_program
from nas.sim.values import run_values, run_values_parallel
from tests.networks import random_arch

QUAD_NPU = find_processor("quad_npu")


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    module = models.build(random_arch(np.random.default_rng(6), quantised=True), 6).eval()
    found = compile_network(module, (4, 3, 16, 16), QUAD_NPU)
    assert isinstance(found, Compiled)
    return found


def test_four_cores_from_files_compute_what_one_does(compiled: Compiled, tmp_path: Path) -> None:
    compiled.write(tmp_path)
    files = CompiledFiles(tmp_path)
    par = read_par_program(files.parallel)
    assert {engine_of_queue(name)[1] for name in par.queues} == {0, 1, 2, 3}
    inputs = {"input": compiled.truth["input"]}
    expected = run_values(compiled.optimised, compiled.constants, inputs)
    seen = run_values_parallel(par, read_arrays(files.parallel_weights), inputs, np.random.default_rng(0))
    for name, value in expected.items():
        np.testing.assert_array_equal(seen[name], value)


def test_the_sequential_program_is_that_of_one_core(compiled: Compiled) -> None:
    assert set(compiled.optimised.used_bytes) == {"dram", "sram"}
    assert compiled.spread.is_partitioned


def test_the_command_of_the_stage_makes_the_same_files(compiled: Compiled, tmp_path: Path) -> None:
    compiled.write(tmp_path)
    files, target = CompiledFiles(tmp_path), tmp_path / "again" / "cmds-o-par.json"
    target.parent.mkdir()
    command = [sys.executable, "-m", "nas.compiler.parallel", str(files.optimised), str(target)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "matrix3" in said or "vector3" in said
    assert read_par_program(target) == compiled.parallel
    again = read_arrays(CompiledFiles(target.parent).parallel_weights)
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in compiled.parallel_constants.items()
    }
    shutil.rmtree(target.parent)


def shifted(command: Command, offset_bytes: int) -> Command:
    (read,) = command.reads
    return replace(command, reads=(replace(read, offset_bytes=offset_bytes),))


def without_strides(command: Command) -> Command:
    (read,) = command.reads
    return replace(command, reads=(replace(read, strides=()),))


@pytest.mark.parametrize(
    ("processor", "mutate", "told"),
    [
        ("quad_npu", without_strides, "the rule 'layout', got read 0: expected one stride for each of"),
        ("nobody's", without_strides, "the rule 'layout', got read 0: expected one stride for each of"),
        ("nobody's", lambda command: replace(command, engine="tensor"), "the rule 'engine', got load runs on dma_in"),
        ("nobody's", lambda command: replace(command, reads=()), "the rule 'operands', got load has 1 read(s)"),
        ("\0.yaml", without_strides, "the rule 'layout', got read 0: expected one stride for each of"),
        ("quad_npu", lambda command: shifted(command, -8), "the rule 'inside', got dram[-0x8: "),
    ],
    ids=["layout", "unknown processor", "engine", "operands", "a name of no file", "outside"],
)
def test_an_illegal_file_is_told_in_one_line(
    processor: str,
    mutate: Callable[[Command], Command],
    told: str,
    compiled: Compiled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, *others = compiled.optimised.commands
    source, target = tmp_path / "cmds-o.json", tmp_path / "cmds-o-par.json"
    write_program(source, replace(compiled.optimised, processor=processor, commands=(mutate(first), *others)))
    monkeypatch.setattr(sys, "argv", ["parallel", str(source), str(target)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"error: {source}: command 0 ({first.layer}): expected a program that keeps {told}" in said
    assert not target.exists()


def test_one_core_after_four_leaves_no_weights_of_theirs(compiled: Compiled, tmp_path: Path) -> None:
    compiled.write(tmp_path)
    assert CompiledFiles(tmp_path).parallel_weights.exists()
    module = models.build(random_arch(np.random.default_rng(6), quantised=True), 6).eval()
    alone = compile_network(module, (1, 3, 16, 16), find_processor("edge_npu"))
    assert isinstance(alone, Compiled)
    alone.write(tmp_path)
    assert not CompiledFiles(tmp_path).parallel_weights.exists()
    assert set(alone.parallel.queues) <= {"dma_in", "matrix", "vector", "dma_out"}
    assert alone.parallel_constants is alone.constants


def test_a_folder_is_no_place_for_a_program(compiled: Compiled, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"^{tmp_path}: expected a place where a file can be written, got Is a directory"
    ):
        write_program(tmp_path, compiled.naive)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=r"cmds\.json: expected a place where a file can be written, got "):
        write_program(file / "net" / "cmds.json", compiled.naive)
    assert list(tmp_path.iterdir()) == [file]
