"""What every bench of scripts/bench promises: a name of its own, a page of words, and a way to run it."""

import inspect
from pathlib import Path

from scripts.bench.__main__ import benches


def test_every_bench_has_a_name_a_purpose_and_a_run() -> None:
    files = [
        path
        for path in (Path(__file__).resolve().parents[2] / "scripts/bench").glob("*.py")
        if not path.stem.startswith("_")
    ]
    found = benches()
    assert len(found) == len(files)
    for name, module in found.items():
        assert name == module.NAME
        assert (module.__doc__ or "").strip()
        assert not inspect.signature(module.run).parameters
