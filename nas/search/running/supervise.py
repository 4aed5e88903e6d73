"""A planned search -> a finished one: starts the workers, watches them, replaces the dead, and tells watchers what is new.

Ctrl-C ends the workers and leaves a folder that can be gone on with; so does any other death of this process.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nas.core.errors import CoevoError, InputError
from nas.search.running.lease import Lease, leases
from nas.search.running.plan import Plan
from nas.search.running.storage import FileLock
from nas.search.running.study import Search
from nas.search.running.workers import DONE_STATUS, INPUT_ERROR_STATUS, Launcher, LocalLauncher, Worker
from nas.search.trials.record import Record

TICK_S = 0.25
DEATHS_WITHOUT_PROGRESS = 2  # per worker; then it is not bad luck


class WorkersFailedError(CoevoError):
    """Workers keep dying without finishing anything."""


@dataclass
class Progress:
    """What a watcher sees: all records so far, what runs now, since when, and notes such as a lost worker."""

    plan: Plan
    folder: Path
    records: list[Record] = field(default_factory=list)
    running: list[Lease] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0
    ended: str = ""

    @property
    def trained(self) -> int:
        """How many candidates count against the budget."""
        return sum(record.trained for record in self.records)


class Watcher(Protocol):
    """Sees a search; never steers it."""

    def tick(self, progress: Progress, new: Sequence[Record]) -> None:
        """Some four times a second; `new` are the records since the last call."""


def run_search(
    folder: Path, workers: int, threads: int, watchers: Sequence[Watcher] = (), launcher: Launcher | None = None
) -> Progress:
    """Run the search planned in `folder` to its end with `workers` processes of `threads` threads each.

    Raises InputError where another process already runs it or a worker refuses its settings, and WorkersFailedError
    where workers die again and again.
    """
    if workers < 1:
        raise InputError("workers", "", "at least 1", workers)
    with alone(folder):
        supervisor = _Supervisor(folder, threads, launcher or LocalLauncher(), watchers)
        try:
            return supervisor.run(workers)
        finally:
            supervisor.stop()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """For so long no other process runs or plans the search in `folder`; InputError where one does."""
    lock = FileLock(folder / "running.lock")
    if not lock.acquire(wait=False):
        raise InputError(folder, "", "a search that nobody runs", "one that another process is running")
    try:
        yield
    finally:
        lock.release()


class _Supervisor:
    def __init__(self, folder: Path, threads: int, launcher: Launcher, watchers: Sequence[Watcher]) -> None:
        self._search = Search(folder)
        self._launcher, self._watchers, self._threads = launcher, watchers, threads
        self._workers: list[Worker] = []
        self._progress = Progress(self._search.plan, folder)
        self._deaths = 0
        self._start = time.monotonic()

    def run(self, workers: int) -> Progress:
        lost = self._search.recover()
        if lost:
            self._progress.notes.append(f"{lost} unfinished trial(s) of an earlier run will be evaluated again")
        self._tick()
        names = [f"worker-{index}" for index in range(workers)]
        if self._progress.trained < self._search.plan.trials:
            self._workers = [self._launcher.start(self._search.folder, name, self._threads) for name in names]
        while self._workers:
            time.sleep(TICK_S)
            self._workers = [worker for worker in self._workers if not self._has_ended(worker)]
            self._tick()
            self._replace_dead(names)
        self._progress.ended = self._progress.ended or f"{self._progress.trained} candidates trained"
        self._tick()
        return self._progress

    def stop(self) -> None:
        """End what still runs and put its candidates back into the queue."""
        for worker in self._workers:
            worker.stop()
        if self._workers:
            self._search.recover()
        self._workers = []

    def _has_ended(self, worker: Worker) -> bool:
        status = worker.poll()
        if status is None:
            return False
        if status == DONE_STATUS:
            self._progress.ended = _last_line(worker.log)
            return True
        if status == INPUT_ERROR_STATUS:
            raise InputError(f"{worker.name} ({worker.log})", "", "settings that work", _last_line(worker.log))
        self._deaths += 1
        self._progress.notes.append(f"{worker.name} died (status {status}), see {worker.log}")
        return True

    def _replace_dead(self, names: list[str]) -> None:
        """Start again what died, unless that has happened too often since the last finished trial."""
        missing = [name for name in names if name not in {worker.name for worker in self._workers}]
        if self._progress.ended or not missing:
            return
        if self._deaths >= DEATHS_WITHOUT_PROGRESS * len(names):
            log = self._search.folder / "logs" / f"{missing[0]}.log"
            raise WorkersFailedError(
                f"workers: expected to finish trials, got {self._deaths} deaths in a row: {_last_line(log)} ({log})"
            )
        self._workers += [self._launcher.start(self._search.folder, name, self._threads) for name in missing]

    def _tick(self) -> None:
        new = self._search.book.refresh()
        if new:
            self._deaths = 0
        self._progress.records = self._search.book.records
        self._progress.running = leases(self._search.folder)
        self._progress.elapsed_s = time.monotonic() - self._start
        for watcher in self._watchers:
            watcher.tick(self._progress, new)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return lines[-1].strip() if lines else "nothing in its log"
