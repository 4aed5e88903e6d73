"""The steps of a tail in their fixed order, as in `nas.ir.command`: which come first and last in a given tail."""

from enum import IntEnum

from nas.ir.command import Tail
from nas.ir.tensor import FLOAT32, Format


class Step(IntEnum):
    """A later step has the larger number."""

    NOTHING = 0
    TABLE = 1
    MULTIPLY = 2
    ADD = 3
    ACTIVATION = 4
    ENCODE = 5
    POOL = 6


def first_step(tail: Tail) -> Step:
    """The first step that a tail takes; a tail that does nothing starts behind everything."""
    if tail.table:
        return Step.TABLE
    if tail.multiply is not None:
        return Step.MULTIPLY
    if tail.add is not None:
        return Step.ADD
    if tail.activation != "none":
        return Step.ACTIVATION
    return Step.ENCODE if tail.output.is_code else Step.POOL


def last_step(tail: Tail) -> Step:
    """The last step that a tail takes. Writing exact sums (32-bit codes) or float32 is no step."""
    if tail.pool is not None:
        return Step.POOL
    if tail.output.is_code and tail.output.bits != 32:
        return Step.ENCODE
    if tail.activation != "none":
        return Step.ACTIVATION
    if tail.add is not None:
        return Step.ADD
    if tail.multiply is not None:
        return Step.MULTIPLY
    return Step.TABLE if tail.table else Step.NOTHING


def unrounded(form: Format) -> bool:
    """Whether the tensor between two operators holds the very number that the tail would carry on with."""
    return form == FLOAT32 or (form.is_code and form.bits == 32)
