"""Plans of searches whose evaluation costs nothing."""

import os
from pathlib import Path

import pytest

from nas.search.running.evaluate import load_parts
from nas.search.running.plan import Plan, write_plan
from nas.search.running.study import work
from nas.search.trials.objective import Limits, Reference

FAKE = Path(__file__).parent / "fake_parts.py"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """These tests kill processes, not the power supply."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def load_space():
    scope = {}
    exec(FAKE.read_text(), scope)
    return scope["SPACE"]


@pytest.fixture
def make_plan():
    def make(**changes):
        values = {
            "space": load_space(),
            "sampler": {"name": "pareto_mutation", "start": 4},
            "trials": 10,
            "factory": f"{FAKE}:make",
            "settings": {},
            "limits": Limits(),
            "reference": Reference(error=1.0, latency_s=5e-3),
            "lease_s": 5.0,
        }
        return Plan(**(values | changes))

    return make


@pytest.fixture
def run_plan(make_plan, tmp_path):
    """Plan and run a search in this process; returns its folder."""

    def run(name="search", **changes):
        folder = tmp_path / name
        plan = write_plan(folder, make_plan(**changes))
        work(folder, "worker-0", lambda: load_parts(plan.factory, plan.settings))
        return folder

    return run
