"""Raw elements <-> numbers, as `nas.ir.tensor.Format` defines them.

    numbers   raw -> float32        code: scale * (multiplier * code + offset)
    integers  raw -> any type       multiplier * code + offset, exactly (the caller picks a type that holds it)
    encode    float32 -> raw        code: min(max(round_half_even(y * (1 / scale)) - offset, 0), levels)

Scales are float64 numbers and products with them are rounded once: to float32, or to the integer that `encode` wants.
32-bit codes are signed and saturate; a NaN encodes to code 0. Floats of 16 bits are bfloat16, rounded half to even.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import ContractError
from nas.ir.tensor import Format
from nas.sim.memory import Raw

IntegerType = type[np.float32] | type[np.float64] | type[np.int64]

_TABLED_BITS = 8
_INT32 = np.iinfo(np.int32)


def numbers(raw: Raw, form: Format) -> NDArray[np.float32]:
    """The float32 number of each raw element."""
    if not form.is_code:
        return _floats(raw, form)
    if form.bits <= _TABLED_BITS:
        return _number_table(form)[raw]
    return scaled(integers(raw, form, np.int64), form.scale)


def scaled(values: NDArray[Any], scale: float) -> NDArray[np.float32]:
    """scale * value, rounded to float32 once: the number of a code or of a sum of products of codes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (values.astype(np.float64) * scale).astype(np.float32)


def integers(raw: Raw, form: Format, kind: IntegerType) -> NDArray[Any]:
    """multiplier * code + offset of each raw code, as elements of `kind`."""
    if not form.is_code:
        raise ContractError(f"{form} has no codes")
    if form.bits <= _TABLED_BITS:
        return _integer_table(form).astype(kind)[raw]
    codes = raw.view(np.int32) if form.bits == 32 else raw
    return (codes.astype(np.int64) * form.multiplier + form.offset).astype(kind, copy=False)


def largest_integer(form: Format) -> int:
    """The largest magnitude that `integers` can give, whatever the bits in memory are."""
    low, high = (_INT32.min, _INT32.max) if form.bits == 32 else (0, (1 << form.bits) - 1)
    return max(abs(low * form.multiplier + form.offset), abs(high * form.multiplier + form.offset))


def encode(y: NDArray[np.float32], form: Format) -> Raw:
    """The raw element that stands for each number."""
    if not form.is_code:
        return _float_bits(y, form)
    if form.multiplier != 1:
        raise ContractError(f"only codes of multiplier 1 can be written, got {form}")
    with np.errstate(over="ignore", invalid="ignore"):
        steps: NDArray[Any] = np.rint(y.astype(np.float64) * (1.0 / form.scale)) - form.offset
    if form.bits == 32:
        return saturated(np.nan_to_num(steps, nan=0.0))
    # fmax and fmin pass over a NaN.
    limited: NDArray[Any] = np.fmin(np.fmax(steps, 0.0), float(form.levels))
    return limited.astype(np.uint8 if form.bits <= 8 else np.uint16)


def saturated(sums: NDArray[Any]) -> Raw:
    """Whole numbers of any type as signed 32-bit codes, the nearest where they do not fit."""
    # float32 can't hold the largest code: clipping to it there would overflow.
    wide = sums.astype(np.float64) if sums.dtype == np.float32 else sums
    codes: NDArray[np.int32] = np.clip(wide, _INT32.min, _INT32.max).astype(np.int32)
    return codes.view(np.uint32)


@lru_cache(maxsize=256)
def _number_table(form: Format) -> NDArray[np.float32]:
    table = scaled(_integer_table(form), form.scale)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=256)
def _integer_table(form: Format) -> NDArray[np.int64]:
    table = np.arange(1 << form.bits, dtype=np.int64) * form.multiplier + form.offset
    table.setflags(write=False)
    return table


def _floats(raw: Raw, form: Format) -> NDArray[np.float32]:
    if form.bits == 32:
        return raw.view(np.float32)
    if form.bits == 16:
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    raise ContractError(f"floats have 32 or 16 bits, got {form.bits}")


def _float_bits(y: NDArray[np.float32], form: Format) -> Raw:
    bits: NDArray[np.uint32] = np.ascontiguousarray(y, np.float32).view(np.uint32)
    if form.bits == 32:
        return bits
    if form.bits == 16:
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        rounded = ((bits + half) >> np.uint32(16)).astype(np.uint16)
        # A NaN whose mantissa would round away, or round over into infinity, stays a NaN.
        return np.where(np.isnan(y), np.uint16(0x7FC0), rounded)
    raise ContractError(f"floats have 32 or 16 bits, got {form.bits}")
