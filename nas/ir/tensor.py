"""What is stored where: number formats, strided regions of a memory, and whole tensors.

    Format   how the bits of one element become a number
    Region   a strided box of elements in one memory: all that a command reads or writes
    Tensor   a value of the network, before anybody decides where it lives

Layout: the last axis of a stored tensor is a row; every row starts on a whole byte, so that a tile of rows always has a
byte address. Elements narrower than a byte are packed within their row, the first in the lowest bits. At odd
distances from each other, as every third of a row, a region has 1,024 of them at most.
"""

import math
from functools import lru_cache
from typing import Literal

import msgspec

ELEMENT_BITS = (1, 2, 4, 8, 16, 32)


class Format(msgspec.Struct, frozen=True, cache_hash=True, omit_defaults=True, gc=False):
    """How stored elements become numbers.

    kind "float": bits 32 is IEEE single, bits 16 is bfloat16.
    kind "code": an integer code; its number is `scale * (multiplier * code + offset)`. Codes of up to 8 bits are
    unsigned, 0..levels; 32-bit codes are signed (accumulators) and have levels 0. `bits` is the container: 3-bit codes
    live in 4 bits with levels 7. DoReFa weights (arXiv 1606.06160) have multiplier 2 and offset -levels.
    """

    bits: int = 32
    kind: Literal["float", "code"] = "float"
    scale: float = 1.0
    multiplier: int = 1
    offset: int = 0
    levels: int = 0

    @property
    def is_code(self) -> bool:
        return self.kind == "code"


FLOAT32 = Format()


def sums_format(left: Format, right: Format) -> Format:
    """How sums of products of two operands wait for what comes next: exactly, as 32-bit codes, where both are codes."""
    return Format(32, "code", left.scale * right.scale) if left.is_code and right.is_code else FLOAT32


@lru_cache(maxsize=64)
def container_bits(bits: int) -> int:
    """The narrowest element that holds a code of `bits` bits."""
    return next(width for width in ELEMENT_BITS if width >= bits)


class Region(msgspec.Struct, frozen=True, gc=False):
    """A strided box of elements in one memory.

    memory: a name of the processor ("dram", "sram", or "sram1" of core 1); offset_bytes: of the first element; shape: in elements;
    strides: in elements of `bits` bits, one per axis, none negative; bits: of one element.
    """

    memory: str
    offset_bytes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    bits: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def payload_bytes(self) -> int:
        """The bytes that move when the region moves."""
        return -(-math.prod(self.shape) * self.bits // 8)

    @property
    def end_bytes(self) -> int:
        """One past the last byte that the region touches."""
        return self.offset_bytes + _span_bytes(self.shape, self.strides, self.bits)


@lru_cache(maxsize=1 << 14)
def _span_bytes(shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> int:
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return -(-(last + 1) * bits // 8)


class Tensor(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A value of the network: its name, shape (batch first), format, and part in the network."""

    name: str
    shape: tuple[int, ...]
    format: Format = FLOAT32
    role: Literal["input", "output", "feature", "constant"] = "feature"


@lru_cache(maxsize=1 << 14)
def row_strides(shape: tuple[int, ...], bits: int) -> tuple[int, ...]:
    """The strides, in elements, of a dense tensor whose rows start on whole bytes."""
    if not shape:
        return ()
    per_byte = max(1, 8 // bits)
    strides, step = [1], 1
    for axis in range(len(shape) - 1, 0, -1):
        step = -(-step * shape[axis] // per_byte) * per_byte if axis == len(shape) - 1 else step * shape[axis]
        strides.append(step)
    return tuple(reversed(strides))


def stored_bytes(shape: tuple[int, ...], bits: int) -> int:
    """The bytes that a dense tensor with byte-aligned rows takes."""
    row_bytes = -(-shape[-1] * bits // 8)
    return math.prod(shape[:-1]) * row_bytes


def dense(memory: str, offset_bytes: int, shape: tuple[int, ...], bits: int) -> Region:
    """The region of a whole dense tensor at `offset_bytes`."""
    return Region(memory, offset_bytes, shape, row_strides(shape, bits), bits)


def box(region: Region, *slices: tuple[int, int] | None) -> Region:
    """The part of `region` between half-open (start, stop) along each axis; None keeps a whole axis."""
    shape, strides, bits = list(region.shape), region.strides, region.bits
    offset_bits = 0
    for axis, bounds in enumerate(slices):
        if bounds is not None:
            start, stop = bounds
            offset_bits += start * strides[axis] * bits
            shape[axis] = stop - start
    if offset_bits % 8:
        raise ValueError(f"a part of {region} at {slices} starts inside a byte")
    return Region(region.memory, region.offset_bytes + offset_bits // 8, tuple(shape), strides, bits)
