"""Many trainings: small programs stand in for them, so that what is tested is who runs when, and what is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.core.errors import InputError
from nas.train.many import Job, TrainingsFailedError, run_all

WRITES = "import pathlib, sys; f = pathlib.Path(sys.argv[1]); f.write_text(f.read_text() + 'x' if f.exists() else 'x')"
FAILS = "import sys; print('first'); print('a wrong turn'); sys.exit(3)"


def _job(folder: Path, program: str, *arguments: str) -> Job:
    return Job(folder, (sys.executable, "-c", program), (str(folder / "result.json"), *arguments))


def _ignore(job: Job) -> None:
    del job


def test_every_job_runs_once_and_a_finished_one_not_again(tmp_path: Path) -> None:
    jobs = [_job(tmp_path / str(number), WRITES) for number in range(5)]
    ended: list[Job] = []
    run_all(jobs, workers=2, threads=1, ended=ended.append)
    run_all(jobs, workers=2, threads=1, ended=ended.append)
    assert [job.folder.joinpath("result.json").read_text() for job in jobs] == ["x"] * 5
    assert sorted(job.folder.name for job in ended) == sorted(["0", "1", "2", "3", "4"] * 2)


def test_each_gets_its_threads_and_a_log(tmp_path: Path) -> None:
    program = "import os, sys; print(os.environ['OMP_NUM_THREADS']); open(sys.argv[1], 'w').close()"
    run_all([_job(tmp_path / "a", program)], workers=1, threads=3, ended=_ignore)
    assert (tmp_path / "a" / "log.txt").read_text().split() == ["3"]


def test_a_failure_is_told_with_the_end_of_its_log_after_the_others_have_ended(tmp_path: Path) -> None:
    jobs = [_job(tmp_path / "bad", FAILS), _job(tmp_path / "good", WRITES)]
    with pytest.raises(
        TrainingsFailedError, match=r"1 of 2 trainings failed: .*bad \(status 3\): first / a wrong turn"
    ):
        run_all(jobs, workers=1, threads=1, ended=_ignore)
    assert jobs[1].finished


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    run_all([_job(tmp_path / "a", WRITES)], workers=1, threads=1, ended=_ignore)
    with pytest.raises(InputError, match="choose another folder"):
        run_all([_job(tmp_path / "a", WRITES, "more")], workers=1, threads=1, ended=_ignore)


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (1, 0)])
def test_nobody_to_work_is_refused(tmp_path: Path, workers: int, threads: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        run_all([_job(tmp_path / "a", WRITES)], workers, threads, _ignore)


def test_a_training_left_behind_by_a_killed_series_is_waited_for(tmp_path: Path) -> None:
    # The job appends to its result after a while; were it run twice at once, or again, there would be two letters.
    slow = "import time; open(__import__('sys').argv[1] + '.began', 'w').close(); time.sleep(1.5); " + WRITES
    series = (
        "import sys; from pathlib import Path; from nas.train.many import Job, run_all\n"
        f"run_all([Job(Path({str(tmp_path / 'a')!r}), (sys.executable, '-c', {slow!r}),"
        f" ({str(tmp_path / 'a' / 'result.json')!r},))], 1, 1, print)"
    )
    first = subprocess.Popen([sys.executable, "-c", series], stdout=subprocess.DEVNULL)
    _wait_for(tmp_path / "a" / "result.json.began")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    run_all([_job(tmp_path / "a", slow)], workers=1, threads=1, ended=_ignore)
    assert (tmp_path / "a" / "result.json").read_text() == "x"


def test_an_interrupted_series_ends_what_it_started(tmp_path: Path) -> None:
    forever = "import sys, time; open(sys.argv[1] + '.' + str(__import__('os').getpid()), 'w').close(); time.sleep(60)"
    jobs = [_job(tmp_path / "a", WRITES), _job(tmp_path / "b", forever)]

    def interrupt(job: Job) -> None:
        del job
        while not list((tmp_path / "b").glob("result.json.*")):
            time.sleep(0.02)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, workers=2, threads=1, ended=interrupt)
    (mark,) = (tmp_path / "b").glob("result.json.*")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.name.rpartition(".")[2]), 0)


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)
