"""Stripes of a chain of operators -> the rows of its result that each of them has and makes for a stripe, halo included.

A stripe of the last member needs a few more rows of what comes before it, which the stripe before it needs, too. They are
made twice, or kept: moved to where the next stripe expects them, while only the rows below them are made anew.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nas.compiler.opt.layout.operands import Operands
from nas.compiler.tiling import input_rows


class Rows(NamedTuple):
    """Half-open ranges of rows of an operator's result: all that a stripe has of them, and those of them that are made for it."""

    held: tuple[int, int]
    made: tuple[int, int]

    @property
    def kept(self) -> tuple[int, int]:
        """What an earlier stripe has made."""
        return self.held[0], self.made[0]


Stripe = list[Rows]


def stripes_of(
    members: Sequence[Operands], takes: Sequence[int], ranges: Sequence[tuple[int, int]], keeps: bool = False
) -> list[Stripe]:
    """Of each stripe the rows of all members. ranges: those of the last one's result, by stripe, from the top down.

    takes: the operand of each member that the one before it makes. keeps: whether rows are kept for the next stripe.
    """
    stripes: list[Stripe] = []
    for last in ranges:
        stripe = [Rows(last, last)]
        for place in range(len(members) - 2, -1, -1):
            before = stripes[-1][place] if keeps and stripes else None
            stripe.append(_rows(members[place + 1], takes[place + 1], stripe[-1].made, before))
        stripes.append(stripe[::-1])
    return stripes


def _rows(reader: Operands, taken: int, made: tuple[int, int], before: Rows | None) -> Rows:
    """The rows that `reader` needs to make `made`; before: those that are there."""
    if before is not None and made[0] >= made[1]:
        return Rows(before.held, (before.held[1], before.held[1]))
    # A factor or an addend is read row by row.
    first, last = made if taken else input_rows(reader.function, reader.images[0][0][0], made)
    done = first if before is None else before.held[1]
    return Rows((first, max(last, done)), (max(first, done), max(last, done)))
