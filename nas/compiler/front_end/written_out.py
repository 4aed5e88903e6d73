"""Attention as it is written, without torch's kernel for it, which works in tensors of ragged rows where places are masked.

Shapes of these depend on numbers, so no trace can follow; and it fills masked places with zeros, which no other way of running
the module does.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def written_out() -> Iterator[None]:
    """Encoders run layer by layer for this time."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)
