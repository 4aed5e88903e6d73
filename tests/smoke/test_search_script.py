"""`python scripts/search.py` as a user runs it: a real search of a few tiny networks, killed, and gone on with."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import models
from tests.commands import in_a_process, inside, script

SMALL = [
    "data.train_images=96", "data.validation_images=64", "data.test_images=64", "trainer.epochs=0.5", "trainer.batch_size=16",
    "workers=1", "sampler=pareto_mutation", "sampler.start=2", "baseline=false",
]  # fmt: skip


def test_a_search_leaves_a_front_that_can_be_used(tmp_path: Path) -> None:
    run = in_a_process("search", *SMALL, "trials=3", "folder=out", here=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "Pareto front" in run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "no litter beside the folder"
    folder = tmp_path / "out"
    rows = json.loads((folder / "front.json").read_text())["value"]
    assert 1 <= len(rows) <= 3
    assert len(list(csv.DictReader((folder / "front.csv").open()))) == len(rows)
    assert (folder / "front.png").stat().st_size > 1000
    for row in rows:
        best = folder / row["folder"]
        network = models.build(models.arch_from_json((best / "arch.json").read_text()))
        network.load_state_dict(load_file(best / "weights.safetensors"))
        assert torch.isfinite(network.eval()(torch.rand(2, 3, 32, 32))).all()
        assert {path.name for path in (best / "compiled").glob("cmds*.json")} == {
            "cmds.json",
            "cmds-o.json",
            "cmds-o-par.json",
        }
        cost = json.loads((best / "cost.json").read_text())["value"]
        assert cost["latency_s"] == row["cost"]["latency_s"] > 0
        assert 0 <= row["figures"]["test_error"] <= 1
        assert f"arch_file=out/{row['folder']}/arch.json data=street_digits" in (best / "retrain.txt").read_text()


@pytest.mark.slow
def test_a_search_killed_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = [*SMALL, "trials=4", "baseline=true", "reference.error=1"]  # they hardly learn
    process = subprocess.Popen([sys.executable, str(script("search")), *arguments, "folder=out"], cwd=tmp_path)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out" / "trials").glob("*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.read_bytes() for path in (tmp_path / "out" / "trials").glob("*/record.json")}
    assert before
    time.sleep(1)
    run = in_a_process("search", "resume=out", "baseline=true", "workers=1", here=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "going on with out" in run.stdout
    assert "hypervolume" in run.stdout
    assert all(path.read_bytes() == data for path, data in before.items())
    records = [json.loads(path.read_text())["value"] for path in (tmp_path / "out" / "trials").glob("*/record.json")]
    assert sum(record["state"] != "rejected" for record in records) == 4
    assert len({record["key"] for record in records}) == len(records)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("trails=3", "did you mean 'trials'?"),
        pytest.param("storage=sqlite:///a.db", "sqlite loses trials", marks=pytest.mark.slow),
        pytest.param("trials=0", "expected at least 1, got 0", marks=pytest.mark.slow),
        pytest.param("resume=nowhere", "nowhere/search.json", marks=pytest.mark.slow),
        pytest.param("workers=many", "workers: expected", marks=pytest.mark.slow),
    ],
)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(tmp_path: Path, argument: str, said: str) -> None:
    run = inside("search", argument, here=tmp_path)
    assert run.returncode == 2
    assert said in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
