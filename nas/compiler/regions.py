"""Where tensors lie: from stored tensors to the regions of one image, of a reshaped view, of a tile."""

import math
from itertools import pairwise

from nas.compiler.network import constant_strides
from nas.ir.tensor import Region, Tensor, container_bits, row_strides

ALIGNMENT_BYTES = 64
ROWS_RANK = 2
MAP_RANK = 3


def aligned(offset_bytes: int, alignment_bytes: int = ALIGNMENT_BYTES) -> int:
    """The next address at or after `offset_bytes` where a tensor may start."""
    return -(-offset_bytes // alignment_bytes) * alignment_bytes


def whole(tensor: Tensor, memory: str, offset_bytes: int) -> Region:
    """The region of a dense tensor (not a constant), batch axis first."""
    bits = container_bits(tensor.format.bits)
    return Region(memory, offset_bytes, tensor.shape, row_strides(tensor.shape, bits), bits)


def place(tensor: Tensor, memory: str, offset_bytes: int) -> Region:
    """The region of any tensor, constants as they are packed."""
    if tensor.role != "constant":
        return whole(tensor, memory, offset_bytes)
    bits = container_bits(tensor.format.bits)
    return Region(memory, offset_bytes, tensor.shape, constant_strides(tensor.shape, bits), bits)


def image_of(region: Region, image: int) -> Region:
    """One image of a batched region, without the batch axis."""
    offset_bits = image * region.strides[0] * region.bits
    return Region(
        region.memory, region.offset_bytes + offset_bits // 8, region.shape[1:], region.strides[1:], region.bits
    )


def as_map(region: Region) -> Region:
    """The region of one image with at least the three axes of a map."""
    missing = MAP_RANK - len(region.shape)
    if missing <= 0:
        return region
    outer = region.shape[0] * region.strides[0] if region.shape else 1
    return Region(
        region.memory,
        region.offset_bytes,
        (1,) * missing + region.shape,
        (outer,) * missing + region.strides,
        region.bits,
    )


def reshaped(region: Region, shape: tuple[int, ...]) -> Region | None:
    """The same elements in the same order seen as `shape`; None where strides cannot say it."""
    if region.shape == shape:
        return region
    strides: list[int] = []
    old, new = 0, 0
    while old < len(region.shape) or new < len(shape):
        old_stop, new_stop = old + 1, new + 1
        old_size = math.prod(region.shape[old:old_stop])
        new_size = math.prod(shape[new:new_stop])
        while old_size != new_size:
            if old_size < new_size:
                old_stop += 1
                old_size = math.prod(region.shape[old:old_stop])
            else:
                new_stop += 1
                new_size = math.prod(shape[new:new_stop])
            if old_stop > len(region.shape) + 1 or new_stop > len(shape) + 1:
                return None
        inner = _merged_stride(region, old, min(old_stop, len(region.shape)))
        if inner is None:
            return None
        group = shape[new:new_stop]
        strides += [inner * math.prod(group[place + 1 :]) for place in range(len(group))]
        old, new = old_stop, new_stop
    return Region(region.memory, region.offset_bytes, shape, tuple(strides[: len(shape)]), region.bits)


def _merged_stride(region: Region, start: int, stop: int) -> int | None:
    """The innermost stride of axes that lie behind one another without gaps; None where there are gaps."""
    axes = [axis for axis in range(start, stop) if region.shape[axis] != 1]
    for outer, inner in pairwise(axes):
        if region.strides[outer] != region.shape[inner] * region.strides[inner]:
            return None
    return region.strides[axes[-1]] if axes else 1


def permuted(region: Region, order: tuple[int, ...]) -> Region:
    """The axes of a region in another order."""
    return Region(
        region.memory,
        region.offset_bytes,
        tuple(region.shape[axis] for axis in order),
        tuple(region.strides[axis] for axis in order),
        region.bits,
    )
