"""Commands -> the bytes that live at one time: what no allocation of this order of commands can go below.

A byte of a memory lives from the command that writes it to the last one that reads it before it is written again; while a
command runs, all that it reads and writes lives. This looks at the finished commands alone, byte by byte, and knows
nothing of buffers: a byte that is written and never read again lives during that command only.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nas.check.memory import lattices
from nas.ir.program import Program
from nas.ir.tensor import Region


def live_bytes(program: Program, memory: str = "sram") -> int:
    """The most bytes of `memory` that live during any one command of a legal program."""
    lives = np.zeros(program.used_bytes.get(memory, 0), np.bool_)
    count = most = 0
    for command in reversed(program.commands):
        reads = [region for region in command.reads if region.memory == memory]
        writes = [region for region in command.writes if region.memory == memory]
        count += _set(lives, writes, True) + _set(lives, reads, True)
        most = max(most, count)
        # Before the command: what it writes did not live yet, unless it also reads it.
        count += _set(lives, writes, False) + _set(lives, reads, True)
    return most


def _set(lives: NDArray[np.bool_], regions: list[Region], alive: bool) -> int:
    """Set the bytes of `regions`; by how many the living ones grew."""
    grown = 0
    for region in regions:
        for start, run, axes in lattices(region.shape, region.strides, region.bits):
            shape = (*(size for _, size in axes), run)
            strides = (*(stride for stride, _ in axes), 1)
            view = as_strided(lives[region.offset_bytes + start :], shape, strides)
            grown -= int(np.count_nonzero(view))
            view[...] = alive
            grown += int(np.count_nonzero(view))
    return grown
