"""Torch's threads -> one, for a while.

Drawing is thousands of operations on arrays that fit into one core's cache: a second thread gains nothing, and on a busy
machine the threads wait for each other several times as long as the work takes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body, or the decorated function, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
