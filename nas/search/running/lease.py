"""Who works on which trial, and whether it still lives: `leases/0007.json`, with the file's time as its heartbeat.

A lease is dead when its process is gone (same host) or its heartbeat stopped for `lease_s` (any host). A claim is a file
named by the candidate's key that only one process can create, so no candidate is ever evaluated twice.
"""

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from nas.core.artifact import read_json, write_json
from nas.core.errors import InputError

KIND, VERSION = "trial_lease", 1


class Lease(msgspec.Struct, frozen=True):
    """number: of the trial; born: the start time of the process in clock ticks, because process numbers come again."""

    number: int
    key: str
    worker: str
    host: str
    process: int
    born: str


def take_lease(folder: Path, number: int, key: str, worker: str) -> Lease:
    """Write the lease of this process on a trial."""
    process = os.getpid()
    lease = Lease(number, key, worker, socket.gethostname(), process, _born(process))
    write_json(_path(folder, number), lease, KIND, VERSION)
    return lease


def drop_lease(folder: Path, number: int) -> None:
    """Remove the lease of a trial, if there is one."""
    _path(folder, number).unlink(missing_ok=True)


def holds(folder: Path, lease: Lease) -> bool:
    """Whether the lease on disk is still this one, and not lost to somebody who thought us dead."""
    return _read(_path(folder, lease.number)) == lease


def leases(folder: Path) -> list[Lease]:
    """All leases of a search, dead ones too."""
    found = [_read(path) for path in sorted((folder / "leases").glob("[0-9]*.json"))]
    return [lease for lease in found if lease is not None]


def is_dead(folder: Path, lease: Lease, lease_s: float) -> bool:
    """Whether nobody works under `lease` any more."""
    if lease.host == socket.gethostname() and not _alive(lease):
        return True
    try:
        return time.time() - _path(folder, lease.number).stat().st_mtime > lease_s
    except FileNotFoundError:
        return True


class Heartbeat:
    """Keeps the lease of a running trial fresh from a thread, until the block ends."""

    def __init__(self, folder: Path, lease: Lease, lease_s: float) -> None:
        self._path = _path(folder, lease.number)
        self._every_s = lease_s / 4
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._end.wait(self._every_s):
            try:
                os.utime(self._path)
            except FileNotFoundError:
                return


def claim(folder: Path, key: str, number: int) -> bool:
    """Claim a candidate for a trial; False where it has been claimed before."""
    path = folder / "claims" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(f"{number}\n")
    return True


def unclaim(folder: Path, key: str, number: int) -> None:
    """Free a candidate that the dead trial `number` claimed; a claim of another trial stays. Call it under the search's lock."""
    path = folder / "claims" / key
    try:
        owner = path.read_text().strip()
    except FileNotFoundError:
        return
    if owner in ("", str(number)):  # empty: its maker died between creating and writing it
        path.unlink()


def claimed(folder: Path) -> set[str]:
    """The keys of every candidate that was evaluated or is being evaluated."""
    try:
        return {path.name for path in (folder / "claims").iterdir()}
    except FileNotFoundError:
        return set()


def _path(folder: Path, number: int) -> Path:
    return folder / "leases" / f"{number:04d}.json"


def _read(path: Path) -> Lease | None:
    try:
        return read_json(path, Lease, KIND, VERSION)
    except InputError:
        if path.exists():
            raise
        return None


def _alive(lease: Lease) -> bool:
    try:
        os.kill(lease.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _born(lease.process) == lease.born


def _born(process: int) -> str:
    """When a process started, in clock ticks since boot; empty where the system does not say. A zombie is dead: "zombie"."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "zombie" if fields[0] == "Z" else fields[19]
