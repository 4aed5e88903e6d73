"""Constants as they are loaded: for every tile of channels its weights and its table as one stretch of dram.

One transfer then brings all that a command needs, and the stretches lie in the order of their first use, so that several
small ones can come in one transfer as well (`coalesce`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nas.compiler.opt.engines.spread import Spread, constant_copy, stored_shape
from nas.compiler.regions import ALIGNMENT_BYTES, aligned
from nas.compiler.tiling import local_copy
from nas.ir.program import Binding
from nas.ir.tensor import Format, Region

Bytes = NDArray[np.uint8]
_RAW = Format(8, "code", levels=255)


@dataclass
class ConstantPool:
    """stored: the bytes of the network's constants; end_bytes: the first free address in dram.

    bindings and packed are what the program gets: one constant for each stretch, with its bytes where they are known.
    """

    stored: Mapping[str, Bytes]
    end_bytes: int
    bindings: list[Binding] = field(default_factory=list)
    packed: dict[str, Bytes] = field(default_factory=dict)
    _known: dict[tuple[tuple[tuple[Region, str], ...], Spread | None], Region] = field(default_factory=dict)
    _whole: dict[str, Region] = field(default_factory=dict)

    def pack(self, layer: str, parts: Sequence[tuple[Region, str]], spread: Spread | None = None) -> Region:
        """The stretch of dram that holds copies of `parts` (region of a constant, role), as `locals_of` lays out."""
        key = tuple(parts), spread
        if key not in self._known:
            size_bytes = stretch_bytes(parts, spread)
            region = Region("dram", self.end_bytes, (size_bytes,), (1,), 8)
            self.end_bytes += size_bytes
            name = f"{layer}.constants {len(self.bindings)}"
            self.bindings.append(Binding(name, region, _RAW))
            if all(part.memory in self.stored for part, _ in parts):
                self.packed[name] = np.concatenate(
                    [_copy_bytes(self.stored[part.memory], part, role, spread) for part, role in parts]
                )
            self._known[key] = region
        return self._known[key]

    def whole(self, region: Region) -> Region:
        """A constant of its own, for the host; the same one for all its calls."""
        name = region.memory
        if name not in self._whole:
            size_bytes = aligned(region.end_bytes)
            self._whole[name] = Region("dram", self.end_bytes, region.shape, region.strides, region.bits)
            self.bindings.append(Binding(name, Region("dram", self.end_bytes, (size_bytes,), (1,), 8), _RAW))
            if name in self.stored:
                self.packed[name] = _padded(self.stored[name])
            self.end_bytes += size_bytes
        return self._whole[name]


def stretch_bytes(parts: Sequence[tuple[Region, str]], spread: Spread | None) -> int:
    """The bytes that copies of `parts` take in one stretch: dense ones, or `spread` over several outputs."""
    return sum(constant_copy(region, role, spread, "", 0)[1] for region, role in parts)


def locals_of(parts: Sequence[tuple[Region, str]], memory: str, spread: Spread | None) -> list[Region]:
    """Where `parts` lie in a buffer that a whole stretch has been loaded to."""
    local, offset_bytes = [], 0
    for region, role in parts:
        copy, offset_bytes = constant_copy(region, role, spread, memory, offset_bytes)
        local.append(copy)
    return local


def _copy_bytes(stored: Bytes, part: Region, role: str, spread: Spread | None) -> Bytes:
    dense_bytes = _dense_bytes(stored, part, role)
    if spread is None or role not in ("weight", "table"):
        return dense_bytes
    shape = stored_shape(part, role, spread)
    if role == "table":
        table = dense_bytes[: part.elements * 4].view(np.float32).reshape(part.shape)
        return _padded(np.repeat(table, spread.size, axis=1).reshape(-1).view(np.uint8))
    kernels = dense_bytes[: part.elements].reshape(part.shape)
    blocks = np.full((part.shape[0], spread.rows, spread.columns, *shape[1:]), spread.zero, np.uint8)
    for row, column in np.ndindex(spread.rows, spread.columns):
        top, left = row * spread.stride[0], column * spread.stride[1]
        blocks[:, row, column, :, top : top + part.shape[2], left : left + part.shape[3]] = kernels
    return _padded(blocks.reshape(-1))


def _dense_bytes(stored: Bytes, part: Region, role: str) -> Bytes:
    """The bytes of a part of a constant as a dense copy has them."""
    if role == "weight" or part.bits < 8:
        # Whole rows of few-bit codes: a range of outputs is a range of bytes.
        size_bytes = local_copy(part, role, "", 0).end_bytes
        return _padded(stored[part.offset_bytes : part.offset_bytes + size_bytes])
    width = part.bits // 8
    elements = stored[part.offset_bytes :].view(np.dtype(f"u{width}"))
    view = np.lib.stride_tricks.as_strided(
        elements, part.shape, tuple(stride * width for stride in part.strides), writeable=False
    )
    return _padded(np.ascontiguousarray(view).reshape(-1).view(np.uint8))


def _padded(data: Bytes) -> Bytes:
    missing = -data.size % ALIGNMENT_BYTES
    return np.concatenate([data, np.zeros(missing, np.uint8)]) if missing else data
