"""Laps add up, and a resumed watch goes on."""

import time

import pytest

from nas.train.state.stopwatch import Stopwatch


@pytest.fixture
def clocks(monkeypatch):
    now = {"wall": 100.0, "processor": 7.0}
    monkeypatch.setattr(time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(time, "process_time", lambda: now["processor"])
    return now


def test_laps_add_up(clocks):
    watch = Stopwatch(seconds=10.0, processor_s=4.0)  # of a session before
    clocks.update(wall=103.0, processor=8.0)
    watch.lap()
    clocks.update(wall=104.0)
    watch.lap()
    assert (watch.seconds, watch.processor_s) == (14.0, 5.0)
