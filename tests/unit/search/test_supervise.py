"""Real worker processes on fake networks: these start Python with torch, so each takes seconds."""

import os
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from nas.core.errors import InputError
from nas.report.searches.search_run import RunOptions, search_and_report
from nas.search.running.lease import leases
from nas.search.running.plan import read_plan, write_plan
from nas.search.running.study import Search
from nas.search.running.supervise import WorkersFailedError, run_search
from nas.search.trials.record import read_records

RUN = "import sys; from pathlib import Path; from nas.search.running.supervise import run_search; run_search(Path(sys.argv[1]), 2, 1)"


class Seen:
    def __init__(self):
        self.numbers, self.notes = [], []

    def tick(self, progress, new):
        self.numbers += [record.number for record in new]
        self.notes = progress.notes


@pytest.mark.slow
def test_two_workers_share_a_budget_and_a_killed_one_is_replaced(make_plan, tmp_path):
    marker = tmp_path / "killed"
    plan = make_plan(trials=8, settings={"meet": str(tmp_path / "meeting"), "killed_once": str(marker)})
    write_plan(tmp_path / "s", plan)
    seen = Seen()
    progress = run_search(tmp_path / "s", workers=2, threads=1, watchers=[seen])
    records = read_records(tmp_path / "s")
    assert progress.trained == sum(record.trained for record in records) == 8
    assert len({record.key for record in records}) == len(records)
    assert {record.worker for record in records} == {"worker-0", "worker-1"}
    assert sorted(seen.numbers) == [record.number for record in records]
    assert any("died (status 9)" in note for note in seen.notes)
    assert [record.origin for record in records if record.origin.startswith("again")]
    # Each worker waits in its first training until the other has begun one, so both were at work at a time.
    assert len(list((tmp_path / "meeting").iterdir())) >= 2


@pytest.mark.slow
def test_kill_minus_nine_in_the_middle_then_again_loses_nothing(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(trials=8, settings={"seconds": 0.4}))
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(read_records(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_until_gone([lease.process for lease in leases(tmp_path)])
    before = read_records(tmp_path)
    assert 3 <= len(before) < 8
    run_search(tmp_path, workers=1, threads=1)
    after = read_records(tmp_path)
    assert [record for record in after if record.number < before[-1].number + 1][: len(before)] == before
    assert sum(record.trained for record in after) == 8
    assert len({record.key for record in after}) == len(after)
    assert "RUNNING" not in {trial.state.name for trial in Search(tmp_path).study.get_trials(deepcopy=False)}


@pytest.mark.slow
def test_settings_that_no_worker_can_use_end_the_search_at_once(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(settings={"refuse": True}))
    with pytest.raises(InputError, match=r"settings: refuse: expected settings that work"):
        run_search(tmp_path, workers=1, threads=1)


@pytest.mark.slow
def test_workers_that_always_die_end_the_search_with_what_they_said(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(factory="nowhere_at_all:make"))
    with pytest.raises(WorkersFailedError, match="No module named 'nowhere_at_all'"):
        run_search(tmp_path, workers=1, threads=1)


def test_a_search_is_run_by_one_process_at_a_time(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(trials=1))
    child = os.fork()
    if child == 0:
        from nas.search.running.storage import FileLock  # noqa: PLC0415 in the child only

        FileLock(tmp_path / "running.lock").acquire()
        time.sleep(30)
        os._exit(0)
    try:
        deadline = time.monotonic() + 10
        while not (tmp_path / "running.lock").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        with pytest.raises(InputError, match="another process is running"):
            run_search(tmp_path, workers=1, threads=1)
        with pytest.raises(InputError, match="another process is running"):
            search_and_report(
                tmp_path, make_plan(trials=99), RunOptions(workers=1, baseline=False), Console(quiet=True)
            )
        assert read_plan(tmp_path) == make_plan(trials=1)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _wait_until_gone(processes):
    """Workers end when their parent's pipe closes; give them a moment."""
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{process}") for process in processes) and time.monotonic() < deadline:  # noqa: PTH110
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{process}") for process in processes)  # noqa: PTH110
