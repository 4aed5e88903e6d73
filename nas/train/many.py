"""The commands of many trainings -> as many finished folders, several at a time, each in a process of its own.

A folder with a result is not trained again, so a series that was killed goes on where it stopped; a training that was
running then goes on from its checkpoint. Beside what the training leaves, a folder gets

    command.json    what the folder is of: other arguments for it are an error
    log.txt         what the command printed        .lock    held for as long as its process lives
"""

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nas.core.artifact import read_json, write_json
from nas.core.errors import CoevoError, InputError
from nas.data.lock import exclusive

_KIND, _VERSION = "training_command", 1
_COMMAND, _LOG, _LOCK = "command.json", "log.txt", ".lock"
_LAST_LINES = 3  # of the log of a failed training, in the error


@dataclass(frozen=True)
class Job:
    """program with arguments: trains into `folder`, and is done when `result` is there. The arguments say what is trained."""

    folder: Path
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    result: str = "result.json"

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.folder / self.result).exists()


class TrainingsFailedError(CoevoError):
    """Some of many trainings did not end well; the others did."""


def run_all(jobs: Sequence[Job], workers: int, threads: int, ended: Callable[[Job], None]) -> None:
    """Run all that are not finished, in their order, `workers` at a time with `threads` CPU threads each.

    ended: told of each job once it is finished, from the thread that ran it. Raises InputError where a folder is of
    another command, TrainingsFailedError with the last lines of each log, after all others have ended. An interruption
    ends the trainings that run.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise InputError("trainings", name, "at least 1", value)
    for job in jobs:
        _claim(job)
    series = _Series(threads, ended)
    with ThreadPoolExecutor(workers) as pool:
        try:
            failures = [text for text in pool.map(series.run, jobs) if text]
        except BaseException:
            series.stop()
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        raise TrainingsFailedError(f"{len(failures)} of {len(jobs)} trainings failed: " + "; ".join(failures))


def _claim(job: Job) -> None:
    """Say what the folder is of, or check that it is of this command."""
    path = job.folder / _COMMAND
    if not path.exists():
        write_json(path, job.arguments, _KIND, _VERSION)
        return
    before = read_json(path, tuple[str, ...], _KIND, _VERSION)
    if before != job.arguments:
        raise InputError(path, "", " ".join(before), " ".join(job.arguments), "choose another folder for these")


class _Series:
    """The processes that run now."""

    def __init__(self, threads: int, ended: Callable[[Job], None]) -> None:
        self._threads, self._ended = threads, ended
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def run(self, job: Job) -> str:
        """Empty where all is well, or else what went wrong."""
        with exclusive(job.folder / _LOCK) as lock:
            # Whoever held the lock may have been this very training, left behind by a series that was killed.
            if not job.finished and not self._stopped.is_set():
                status = self._process(job, lock)
                if status and not self._stopped.is_set():
                    return f"{job.folder} (status {status}): {_last_lines(job.folder / _LOG)}"
        if job.finished:
            self._ended(job)
        return ""

    def stop(self) -> None:
        """Ask what runs to end."""
        self._stopped.set()
        for process in list(self._running):
            process.terminate()

    def _process(self, job: Job, lock: int) -> int:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads), "MKL_NUM_THREADS": str(self._threads)}
        with (job.folder / _LOG).open("ab") as log:
            # The child inherits the lock: it is let go of when both have ended.
            process = subprocess.Popen(
                (*job.program, *job.arguments), stdout=log, stderr=subprocess.STDOUT, env=environment, pass_fds=(lock,)
            )
        self._running.add(process)
        try:
            return process.wait()
        finally:
            self._running.discard(process)


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-_LAST_LINES:])
