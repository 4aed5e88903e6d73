"""Sums of products of codes, handed on as 32-bit codes and added to: integers, which float32 could not hold."""

import numpy as np
import pytest

from nas.ir.command import Command, Matmul, Tail
from nas.ir.tensor import Format, Region, dense
from nas.sim.arithmetic import execute
from nas.sim.memory import read_raw, write_raw

CODE, SUMS = Format(8, "code", 0.5, 1, 0, 255), Format(32, "code", 0.25)
X, W, BEFORE, AFTER = (
    dense("sram", 0, (1, 3), 8),
    dense("sram", 16, (2, 3), 8),
    dense("sram", 32, (1, 2), 32),
    dense("sram", 64, (1, 2), 32),
)


def _added(before: list[int], x: list[int], w: list[list[int]], tail: Tail, *, reads: tuple[Region, ...]) -> list[int]:
    memories = {"sram": np.zeros(128, np.uint8)}
    write_raw(memories, X, np.array([x], np.uint8))
    write_raw(memories, W, np.array(w, np.uint8))
    write_raw(memories, BEFORE, np.array([before], np.int32).view(np.uint32))
    execute(Command("matrix", "deep", reads, (AFTER,), Matmul(CODE, CODE, tail)), memories)
    return [int(each) for each in read_raw(memories, AFTER).view(np.int32)[0]]


def test_sums_are_added_exactly() -> None:
    odd = (1 << 24) + 1  # the first whole number that float32 does not hold
    added = _added([odd, -odd], [1, 2, 3], [[4, 5, 6], [0, 0, 2]], Tail(add=SUMS, output=SUMS), reads=(X, W, BEFORE))
    assert added == [odd + 32, -odd + 6]


@pytest.mark.parametrize(("before", "after"), [((1 << 31) - 5, (1 << 31) - 1), (-(1 << 31), 32 - (1 << 31))])
def test_they_saturate(before: int, after: int) -> None:
    tail = Tail(add=SUMS, output=SUMS)
    assert _added([before, 0], [1, 2, 3], [[4, 5, 6], [0, 0, 0]], tail, reads=(X, W, BEFORE))[0] == after


def test_codes_of_another_scale_are_added_as_numbers() -> None:
    other = Format(32, "code", 1.0)
    tail = Tail(add=other, output=SUMS)
    assert _added([7, 0], [1, 2, 3], [[4, 5, 6], [0, 0, 0]], tail, reads=(X, W, BEFORE)) == [32 + 4 * 7, 0]
