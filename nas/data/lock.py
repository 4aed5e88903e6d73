"""Several processes -> one at a time, on one host. The kernel lets go of the lock when its holder dies, however it dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.core.artifact import writable


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the lock file `path` (made where missing, never removed), waiting for as long as another process holds it.

    Gives the descriptor: a child process that inherits it holds the lock too.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
