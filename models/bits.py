"""Bit widths: of weights, of activations, of gradients. 32 means full precision."""

from typing import NamedTuple

FULL_PRECISION_BITS = 32
LARGEST_CODE_BITS = 8  # what has at most so many bits is known by integer codes, which engines compute with


class Bits(NamedTuple):
    """Bit widths of a layer's weights, of the tensors that it reads or makes, and of the gradients of its sums."""

    weight: int = FULL_PRECISION_BITS
    activation: int = FULL_PRECISION_BITS
    gradient: int = FULL_PRECISION_BITS


FULL_PRECISION = Bits()


def require_bits(**values: int) -> None:
    """Raise ValueError for the first of the named `values` that is no bit width of a quantiser."""
    for name, value in values.items():
        if not 1 <= value <= FULL_PRECISION_BITS:
            raise ValueError(f"{name} must be 1 to 31, or 32 for full precision, got {value}")
