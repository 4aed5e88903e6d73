"""A folder with a plan -> processes that evaluate its candidates, on this machine or wherever a `Launcher` can start them.

`python -m nas.search.running.workers FOLDER NAME --threads N` is one worker. It ends when the search is done, and at once when its
standard input closes: that is how it notices that whoever started it is gone, however that ended.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

import torch

from nas.core.errors import CoevoError
from nas.search.running.evaluate import load_parts
from nas.search.running.plan import read_plan
from nas.search.running.study import work

DONE_STATUS, INPUT_ERROR_STATUS = 0, 2


class Worker(Protocol):
    """A started worker. `name` is in every record that it makes, `log` is what it printed."""

    name: str
    log: Path

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""

    def stop(self) -> None:
        """End it now; the trial it was at is left to others. Returns when it is gone."""


class Launcher(Protocol):
    """Starts workers somewhere. All that worker and launcher share is the folder."""

    def start(self, folder: Path, name: str, threads: int) -> Worker: ...


class LocalLauncher:
    """Workers as processes of this machine."""

    def start(self, folder: Path, name: str, threads: int) -> Worker:
        return _LocalWorker(folder, name, threads)


class _LocalWorker:
    def __init__(self, folder: Path, name: str, threads: int) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "nas.search.running.workers", str(folder), name, "--threads", str(threads)]
        environment = os.environ | {variable: str(threads) for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(arguments: list[str]) -> int:
    """One worker process; returns its exit status."""
    parser = argparse.ArgumentParser(prog="nas.search.running.workers", description="Evaluate candidates of a search.")
    parser.add_argument("folder", type=Path, help="of the search, with search.json")
    parser.add_argument("name", help="of this worker, in records and logs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(options.threads)
    plan = read_plan(options.folder)
    try:
        print(work(options.folder, options.name, lambda: load_parts(plan.factory, plan.settings)), flush=True)
    except CoevoError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return INPUT_ERROR_STATUS
    return DONE_STATUS


def _end_with_parent() -> None:
    """Read standard input to its end; nobody writes there, so its end is the end of the parent."""
    while os.read(0, 1):  # not sys.stdin: a thread that waits in there breaks Python's own shutdown
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
