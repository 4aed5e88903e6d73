"""What is asked of operators that are to be done together, in stripes or in slices."""

from typing import NamedTuple

from nas.compiler.opt.layout.operands import Operands


class Chain(NamedTuple):
    """Operators that are done together. takes: the operand of each member that the one before it makes, 0 of the first; again: the
    operands of each that are what the first one reads as its data, in dram, and that are not loaded again. stores: whether what
    each hands on goes to dram as well, for others that read it later.
    """

    members: tuple[Operands, ...]
    takes: tuple[int, ...]
    again: tuple[frozenset[int], ...]
    stores: tuple[bool, ...]
