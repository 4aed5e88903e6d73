"""kill -9 at random moments: what is left is a good checkpoint, and the run that goes on ends with the very same bits."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nas.train.state.checkpoint import load_checkpoint

WORKER, ROOT = Path(__file__).with_name("endless.py"), Path(__file__).parents[3]


def _start(folder: Path, seed: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(WORKER), str(folder), str(seed)], env=environment)


def _step_of_file(folder: Path) -> int:
    """Of the newest tensor file; the checkpoint itself must not be read while another process changes it."""
    return max(
        (int(path.stem.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*.safetensors")), default=0
    )


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    assert _start(tmp_path / "whole", 0).wait(timeout=240) == 0
    expected = load_file(tmp_path / "whole" / "end.safetensors")
    folder, moments = tmp_path / "killed", np.random.default_rng()
    resumed_at, seed = [0], 0
    while len(resumed_at) < 5:
        before = _step_of_file(folder)  # a kill may leave a file that belongs to no checkpoint yet
        process = _start(folder, seed)
        try:
            # Wait until it does something new, then some moment more: it saves all the time.
            for _ in range(2400):
                if process.poll() is not None or _step_of_file(folder) > before:
                    break
                time.sleep(0.05)
            time.sleep(float(moments.uniform(0.0, 0.3)))
        finally:
            process.kill()
            process.wait(timeout=60)
        left = load_checkpoint(folder)
        assert left is not None, "a kill left no checkpoint"
        resumed_at.append(left[0].step)
        seed += 1  # what is resumed replaces the weights
        if left[0].step == 160:
            break
    assert len(set(resumed_at)) > 3, "the kills came before anything happened"
    assert _start(folder, 99).wait(timeout=240) == 0
    got = load_file(folder / "end.safetensors")
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items()), f"killed at {resumed_at}"
