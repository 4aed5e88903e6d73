"""The sampler's memory: a word or a URL -> an Optuna storage that several processes may write at once.

"journal" (the default) is a Journal file in the search's folder; "grpc://host:port" is Optuna's gRPC proxy; anything else is
the URL of a database. sqlite is refused: it loses trials under parallel writers.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from urllib.parse import urlparse

from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from nas.core.artifact import writable
from nas.core.errors import InputError


def check_storage(url: str) -> None:
    """Raise `InputError` for a storage that several workers cannot share, or that is none."""
    scheme = urlparse(url).scheme
    if scheme.startswith("sqlite"):
        servers = '"journal" (one host) or the URL of a server such as postgresql://'
        raise InputError("storage", "", servers, url, "sqlite loses trials when several workers write at once")
    known = '"journal" or a URL such as postgresql://user@host/database'
    if not scheme and url != "journal":
        raise InputError("storage", "", known, url)
    try:
        if scheme == "grpc":
            _ = urlparse(url).port
        elif scheme:
            make_url(url).get_dialect().import_dbapi()
    except (ValueError, ArgumentError, NoSuchModuleError, ImportError) as error:
        raise InputError("storage", "", known, url, str(error)) from error


def open_storage(url: str, folder: Path) -> BaseStorage:
    """The storage that `url` names; the Journal file is `folder`/journal.log."""
    check_storage(url)
    if url == "journal":
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "journal.log"
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_JournalLock(path)))
    parts = urlparse(url)
    if parts.scheme == "grpc":
        return GrpcStorageProxy(host=parts.hostname or "localhost", port=parts.port or 13000)
    return RDBStorage(url)


class FileLock:
    """A lock between processes that the kernel frees when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; without `wait` return False where another process has it."""
        with writable(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        """Give it back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _JournalLock(BaseJournalFileLock):
    """Optuna's own locks outlive a killed process by half a minute; this one does not, and mends what a kill tore.

    A writer that died within a line leaves a tail without a line end, and the next line glued to it would make the journal
    unreadable for ever. Whoever holds the lock may cut that tail off.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = FileLock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        self._mend()
        return True

    def release(self) -> None:
        self._lock.release()

    def _mend(self) -> None:
        if not self._journal.exists():
            return
        with self._journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
