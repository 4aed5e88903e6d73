"""Regions of byte memories <-> arrays of raw elements.

A raw element is what the bits say before any `Format`: uint8 for elements of up to 8 bits, uint16 and uint32 for wider
ones, little-endian. Memories are plain byte arrays, one by name, and start full of 0xFF: an element that is read before
it was written is NaN or the highest code, so the mistake shows in the values.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import ContractError
from nas.ir.tensor import Region

Raw = NDArray[np.unsignedinteger]
Memories = dict[str, NDArray[np.uint8]]

_UNWRITTEN = 0xFF
_WHOLE: dict[int, np.dtype[Any]] = {8: np.dtype("u1"), 16: np.dtype("<u2"), 32: np.dtype("<u4")}

if sys.byteorder != "little":
    raise ImportError("nas.sim.memory reads little-endian memories in place and needs a little-endian machine")


def allocate(used_bytes: Mapping[str, int]) -> Memories:
    """Fresh memories of the given sizes."""
    return {name: np.full(size_bytes, _UNWRITTEN, np.uint8) for name, size_bytes in used_bytes.items()}


def read_raw(memories: Memories, region: Region) -> Raw:
    """The raw elements of `region`, of its shape. Elements of 8 bits and more are a view of the memory, not a copy."""
    memory = _memory(memories, region)
    if region.bits in _WHOLE:
        return _view(memory, region)
    if _has_byte_rows(region):
        return _unpack(_packed_rows(memory, region), region)
    place, shift = _places(region)
    raw: Raw = (memory[place] >> shift) & _mask(region.bits)
    return raw


def write_raw(memories: Memories, region: Region, raw: Raw) -> None:
    """Write the elements, and no bit beside them. `raw` has the region's shape."""
    if raw.shape != region.shape:
        raise ContractError(f"elements of shape {raw.shape} are written to {region}")
    memory = _memory(memories, region)
    if region.bits in _WHOLE:
        _view(memory, region)[...] = raw
    elif _has_byte_rows(region):
        _pack(_packed_rows(memory, region), region, raw.astype(np.uint8, copy=False))
    else:
        _scatter(memory, region, raw.astype(np.uint8, copy=False))


def _memory(memories: Memories, region: Region) -> NDArray[np.uint8]:
    memory = memories.get(region.memory)
    if memory is None:
        raise ContractError(f"{region} lies in no memory of the program ({', '.join(memories)})")
    if region.offset_bytes < 0 or region.end_bytes > memory.size or min(region.shape, default=1) < 1:
        raise ContractError(f"{region} does not lie within the {memory.size} bytes in use of {region.memory}")
    return memory


def _mask(bits: int) -> np.uint8:
    return np.uint8((1 << bits) - 1)


def _view(memory: NDArray[np.uint8], region: Region) -> Raw:
    """Elements of whole bytes, in place; numpy allows any byte address."""
    kind = _WHOLE[region.bits]
    strides = tuple(stride * kind.itemsize for stride in region.strides)
    return np.ndarray(region.shape, kind, memory.data, region.offset_bytes, strides)


def _has_byte_rows(region: Region) -> bool:
    """Whether the last axis is a packed row and every row starts on a whole byte: the usual case, and the quick one."""
    per_byte = 8 // region.bits
    return bool(region.shape) and region.strides[-1] == 1 and all(step % per_byte == 0 for step in region.strides[:-1])


def _packed_rows(memory: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """The bytes of the rows, (..., bytes of a row), in place."""
    row_bytes = -(-region.shape[-1] * region.bits // 8)
    strides = (*(stride * region.bits // 8 for stride in region.strides[:-1]), 1)
    return np.ndarray((*region.shape[:-1], row_bytes), np.uint8, memory.data, region.offset_bytes, strides)


def _unpack(rows: NDArray[np.uint8], region: Region) -> Raw:
    per_byte = 8 // region.bits
    raw = np.empty((*rows.shape, per_byte), np.uint8)
    for position in range(per_byte):
        np.right_shift(rows, position * region.bits, out=raw[..., position])
    raw &= _mask(region.bits)
    return raw.reshape(*rows.shape[:-1], rows.shape[-1] * per_byte)[..., : region.shape[-1]]


def _pack(rows: NDArray[np.uint8], region: Region, raw: NDArray[np.uint8]) -> None:
    per_byte = 8 // region.bits
    columns = region.shape[-1]
    whole_bytes, rest = divmod(columns, per_byte)
    filled = np.zeros((*rows.shape, per_byte), np.uint8)
    filled.reshape(*rows.shape[:-1], -1)[..., :columns] = raw & _mask(region.bits)
    packed = filled[..., 0].copy()
    for position in range(1, per_byte):
        packed |= filled[..., position] << np.uint8(position * region.bits)
    rows[..., :whole_bytes] = packed[..., :whole_bytes]
    if rest:
        # The last byte of a row also holds elements to the right of the box: they stay.
        beside = np.uint8(0xFF << (rest * region.bits) & 0xFF)
        rows[..., -1] = rows[..., -1] & beside | packed[..., -1]


def _places(region: Region) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The byte of each element and its shift within the byte, both of the region's shape."""
    bit = np.zeros(region.shape, np.int64)
    for axis, (size, stride) in enumerate(zip(region.shape, region.strides, strict=True)):
        steps = np.arange(size, dtype=np.int64) * (stride * region.bits)
        bit += steps.reshape(-1, *[1] * (len(region.shape) - axis - 1))
    return region.offset_bytes + (bit >> 3), (bit & 7).astype(np.uint8)


def _scatter(memory: NDArray[np.uint8], region: Region, raw: NDArray[np.uint8]) -> None:
    place, shift = _places(region)
    mask = _mask(region.bits)
    for position in range(0, 8, region.bits):
        # Elements at one position within their byte lie in different bytes, so that none undoes another.
        here = shift == position
        kept = memory[place[here]] & np.uint8(~(int(mask) << position) & 0xFF)
        memory[place[here]] = kept | (raw[here] & mask) << np.uint8(position)
