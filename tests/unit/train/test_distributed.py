"""Two processes over the loopback device give what one gives: norms, curves and weights, also after a resume."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas.train.machine.distributed import Group, current_group, processes

WORKER, ROOT = Path(__file__).with_name("two_processes.py"), Path(__file__).parents[3]


def _run(size: int, folder: Path, task: str) -> list[str]:
    """What each of `size` processes prints; all of them have ended."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(size), str(folder), task],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        told = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(process.returncode == 0 for process in started), told
    return [out for out, _ in told]


def test_one_process_alone_exchanges_nothing() -> None:
    group = current_group()
    assert (group.rank, group.size) == (0, 1)
    with processes("auto") as alone:
        assert alone == Group()
    value = torch.ones(2)
    group.average_([value])
    assert group.sum_(value) is value
    assert value.tolist() == [1.0, 1.0]
    assert group.decided(True)
    assert not group.decided(False)
    assert group.bytes_of_first(b"") == b""
    assert group.bytes_of_first(b"ab") == b"ab"


@pytest.mark.slow
def test_batch_norms_see_the_whole_batch(tmp_path: Path) -> None:
    _run(1, tmp_path, "norms")
    whole = load_file(tmp_path / "norms-0.safetensors")
    _run(2, tmp_path, "norms")
    shares = [load_file(tmp_path / f"norms-{rank}.safetensors") for rank in range(2)]
    for name, expected in whole.items():
        cut = name in ("y", "x_grad")
        for got in [torch.cat([share[name] for share in shares])] if cut else [share[name] for share in shares]:
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5, msg=name)


def _told(folder: Path, task: str, rank: int = 0) -> list[list[float]]:
    """Points of the curve: step, loss, errors; and last the errors of the result alone."""
    points: list[list[float]] = json.loads((folder / f"{task}-{rank}.json").read_text())
    return points


def _same_training(got: list[list[float]], expected: list[list[float]]) -> None:
    assert [point[0] for point in got[:-1]] == [point[0] for point in expected[:-1]] == [10, 20, 30]
    for point, other in zip(got[:-1], expected[:-1], strict=True):
        assert point[1] == pytest.approx(other[1], rel=1e-4)
        assert abs(point[2] - other[2]) <= 3  # of 1100 images, some of which lie on the border


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """With everything on that the processes must agree about: parts, mixing, clipping, averages, early stop."""
    one, two = tmp_path / "one", tmp_path / "two"
    _run(1, one, "plain")
    _run(2, two, "plain")
    _same_training(_told(two, "plain"), _told(one, "plain"))
    assert _told(two, "plain", 1) == _told(two, "plain")
    weights = [load_file(two / f"plain-{rank}.safetensors") for rank in range(2)]
    for name, tensor in load_file(one / "plain-0.safetensors").items():
        assert torch.equal(weights[0][name], weights[1][name]), name
        torch.testing.assert_close(weights[0][name], tensor, rtol=2e-2, atol=2e-3, msg=name)
    # What one process began two may end.
    _run(1, two, "begun")
    _run(2, two, "resumed")
    _same_training(_told(two, "resumed"), _told(one, "plain"))
    assert _told(two, "resumed", 1) == _told(two, "resumed")


@pytest.mark.slow
def test_what_does_not_divide_is_told(tmp_path: Path) -> None:
    for out in _run(2, tmp_path, "odd"):
        first, second = out.splitlines()
        assert "batch_size: expected a multiple of 2: accumulate 1 x 2 processes, got 25" in first
        assert "processes: expected one where other networks" in second
