"""`python scripts/train.py` as a user runs it: from another folder, twice, and with mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import models
from tests.commands import Ended, in_a_process, inside, script

SMALL = [
    "data.train_images=300", "data.validation_images=64", "data.test_images=64", "trainer.batch_size=32",
    "model.widths=[4,4,4,8]", "model.fc_width=8", "trainer.epochs=0.5",
]  # fmt: skip


def _train(folder: Path, *arguments: str) -> Ended:
    return inside("train", *arguments, here=folder)


def test_trains_from_anywhere_and_leaves_everything(tmp_path: Path) -> None:
    first = in_a_process("train", *SMALL, "folder=out", here=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "test error" in first.stdout
    assert "95 % interval" in first.stdout
    assert "images/s" in first.stdout
    assert "ETA" in first.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "no litter beside the folder"
    folder = tmp_path / "out"
    result = json.loads((folder / "result.json").read_text())["value"]
    assert result["test"]["images"] == 64
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    # What it leaves is enough to use the network without Coevo's training.
    network = models.build(models.arch_from_json((folder / "arch.json").read_text()))
    network.load_state_dict(load_file(folder / "model.safetensors"))
    assert torch.isfinite(network.eval()(torch.rand(2, 3, 32, 32))).all()


@pytest.mark.slow
def test_the_same_folder_goes_on_and_another_network_is_refused(tmp_path: Path) -> None:
    first, again = (_train(tmp_path, *SMALL, "folder=out") for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert " of " in first.stdout
    assert " of " not in again.stdout, "a finished run is not trained again"
    assert "trained already, in " in again.stdout
    assert "trained already" not in first.stdout
    last_lines = [run.stdout.splitlines()[-2].partition(", ")[0] for run in (first, again)]
    assert last_lines[0] == last_lines[1]
    other = _train(tmp_path, *SMALL, "folder=out", "model.fc_width=9")
    assert other.returncode == 2
    assert "choose another folder" in other.stderr
    drawn_anew = _train(tmp_path, *SMALL, "folder=out", "data.seed=1")
    assert drawn_anew.returncode == 2
    assert "data.seed: expected 0, got 1" in drawn_anew.stderr


@pytest.mark.slow
def test_retrains_a_described_network(tmp_path: Path) -> None:
    arch = models.SvhnNetArch(widths=(3, 3, 3, 3), fc_width=5, image_size_px=40)
    (tmp_path / "arch.json").write_text(models.arch_to_json(arch))
    result = _train(tmp_path, *SMALL[:4], "trainer.epochs=0.2", "arch_file=arch.json", "folder=out")
    assert result.returncode == 0, result.stderr
    trained = models.arch_from_json((tmp_path / "out" / "arch.json").read_text())
    assert trained == models.fitted(arch, in_channels=3, classes=10, image_size_px=32)


def test_a_mistake_is_told_in_one_line(tmp_path: Path) -> None:
    result = _train(tmp_path, *SMALL[:3], "model.fc_width=0")
    assert result.returncode == 2
    assert result.stderr.startswith("error: model: ")
    assert "fc_width must be at least 1" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_starts_from_another_network_and_learns_from_it(tmp_path: Path) -> None:
    small = [*SMALL[:4], "trainer.epochs=0.2", "model=mobilenet_v1"]
    first = _train(tmp_path, *small, "model.width=0.2", "folder=narrow")
    assert first.returncode == 0, first.stderr
    second = _train(tmp_path, *small, "model.width=0.3", "folder=wide", "start_from=narrow", "teacher=narrow")
    assert second.returncode == 0, second.stderr
    assert "start_from: " in second.stdout
    listed = json.loads((tmp_path / "wide" / "start_from.json").read_text())["value"]["tensors"]
    assert len(listed["partly"]) > 50
    assert listed["fresh"] == listed["unused"] == []


def test_a_teacher_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    result = _train(tmp_path, *SMALL, "teacher=nowhere", "folder=out")
    assert result.returncode == 2
    assert result.stderr.startswith("error: teacher=nowhere: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_torchrun_trains_in_two_processes_as_in_one(tmp_path: Path) -> None:
    small = [*SMALL, "trainer.precision=float32", "trainer.device=cpu", "trainer.epochs=1"]
    alone = _train(tmp_path, *small, "folder=one")
    assert alone.returncode == 0, alone.stderr
    # File rendezvous and the loopback device: nothing is offered to the network.
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    torchrun += [
        "--rdzv-endpoint",
        str(tmp_path / "meet"),
        "--rdzv-conf",
        "store_type=file",
        "--local-addr",
        "127.0.0.1",
    ]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    together = subprocess.run(
        [sys.executable, *torchrun, str(script("train")), *small, "folder=two"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False, env=environment,
    )  # fmt: skip
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("test error") == alone.stdout.count("test error"), "the first process alone tells"
    curves = [
        json.loads((tmp_path / name / "result.json").read_text())["value"]["train"]["curve"] for name in ("one", "two")
    ]
    assert [point["loss"] for point in curves[1]] == pytest.approx([point["loss"] for point in curves[0]], rel=1e-3)
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1
