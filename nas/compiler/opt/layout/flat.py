"""Pointwise convolutions seen with every place of their maps as a row of its own: so that a tile may be any number of places."""

from dataclasses import replace

from nas.compiler.opt.layout.operands import Operands
from nas.compiler.regions import MAP_RANK, reshaped
from nas.ir.command import Conv
from nas.ir.tensor import Region

_POINT = (1, 1)


def flat(operands: Operands) -> Operands:
    """The same operator on maps (c, h * w, 1), if each place of its output depends on one place; else as it is."""
    function = operands.function
    if not isinstance(function, Conv) or operands.spread is not None or not _is_pointwise(function):
        return operands
    images = []
    for reads, write in operands.images:
        seen = [
            region if region.memory in operands.constants else _seen_flat(region, write) for region in (*reads, write)
        ]
        flattened = [region for region in seen if region is not None]
        if len(flattened) < len(seen):
            return operands
        images.append((tuple(flattened[:-1]), flattened[-1]))
    return replace(operands, images=tuple(images))


def _is_pointwise(function: Conv) -> bool:
    window = function.window
    is_point = window.kernel == _POINT and window.stride == _POINT and not any(window.padding)
    return is_point and function.tail.pool is None


def _seen_flat(region: Region, write: Region) -> Region | None:
    """None where rows do not lie behind one another, or are no whole bytes."""
    if len(region.shape) != MAP_RANK or region.bits < 8:
        return None
    channels, *sides = region.shape
    if sides == [1, 1]:
        return region
    return reshaped(region, (channels, sides[0] * sides[1], 1)) if tuple(sides) == write.shape[-2:] else None
