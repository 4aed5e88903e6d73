"""Commands -> all that they touch, as columns: what the rules about memory sweep over."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.check.memory import span_bytes
from nas.ir.command import Command
from nas.ir.tensor import Region

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Accesses:
    """One entry for every read and write, command by command, reads first. Intervals are half-open, in bytes."""

    command: list[int]
    is_write: list[bool]
    start: list[int]
    end: list[int]
    region: list[Region]

    @cached_property
    def commands(self) -> Integers:
        return np.array(self.command, np.int64)

    @cached_property
    def writes(self) -> NDArray[np.bool_]:
        return np.array(self.is_write, np.bool_)

    @cached_property
    def starts(self) -> Integers:
        return np.array(self.start, np.int64)

    @cached_property
    def ends(self) -> Integers:
        return np.array(self.end, np.int64)

    @cached_property
    def memories(self) -> Integers:
        """Each entry's memory, as a number."""
        names = [region.memory for region in self.region]
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        return np.array([numbers[name] for name in names], np.int64)


def accesses_of(commands: Sequence[Command]) -> Accesses:
    """The accesses of `commands`, whose layouts must make sense (the rules of one command see to it)."""
    command: list[int] = []
    is_write: list[bool] = []
    region: list[Region] = []
    for index, each in enumerate(commands):
        reads, writes = len(each.reads), len(each.writes)
        command += [index] * (reads + writes)
        is_write += [False] * reads + [True] * writes
        region += each.reads
        region += each.writes
    start = [each.offset_bytes for each in region]
    end = [each.offset_bytes + span_bytes(each.shape, each.strides, each.bits) for each in region]
    return Accesses(command, is_write, start, end, region)
