"""What a `View` does to regions: two boxes of one shape, one of the source and one of the result."""

import math

from nas.compiler.regions import permuted, reshaped
from nas.ir.program import View
from nas.ir.tensor import Region, box


def seen_through(view: View, source: Region) -> Region | None:
    """The elements of one image of the source in the order in which the result has them; None where strides can't say."""
    seen = reshaped(source, view.split)
    if seen is None:
        return _slice_of_shuffled(view, source)
    moved = permuted(seen, view.order)
    if not view.stop:
        return moved
    try:
        return box(moved, (view.start, view.stop))
    except ValueError:
        return None


def view_boxes(view: View, source: Region, target: Region) -> tuple[Region, Region] | None:
    """Boxes of one shape, so that copying the first onto the second does what `view` says; None where there are none."""
    moved = seen_through(view, source)
    landing = reshaped(target, moved.shape) if moved is not None else None
    if moved is not None and landing is not None:
        return moved, landing
    if view.in_order and not view.stop:
        landing = reshaped(target, source.shape)
        if landing is not None:
            return source, landing
    return None


def _slice_of_shuffled(view: View, source: Region) -> Region | None:
    """A slice of channels that are stored as several axes, where it falls on whole steps of the first."""
    inner = math.prod(source.shape[1:-2])
    if (
        not view.in_order
        or not view.stop
        or view.split[1:] != source.shape[-2:]
        or view.start % inner
        or view.stop % inner
    ):
        return None
    return box(source, (view.start // inner, view.stop // inner))
