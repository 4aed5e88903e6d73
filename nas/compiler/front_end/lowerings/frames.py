"""Values seen the way an engine wants them: as a map with a chosen axis as its channels, or as they are stored.

An engine knows rows (batch, channels) and maps (batch, channels, rows, columns). A tensor of any other rank, or with its
channels elsewhere, is looked at in another order of its axes; nothing moves for that where strides can say it.
"""

import math

from nas.compiler.front_end.lowerings.builder import Look, NetworkBuilder
from nas.compiler.front_end.tracing.calls import Value

ROWS_RANK = 2
MAP_RANK = 4


def as_map(builder: NetworkBuilder, value: Value, axis: int, layer: str) -> str:
    """A stored (batch, size of `axis`, rows, columns) with the other axes of `value` as its rows and columns."""
    look = axis_first(builder.look(value, layer), axis)
    channels, *others = look.shape
    return builder.stored(look, (value.shape[0], channels, *map_sides(others)), layer)


def map_sides(others: list[int]) -> tuple[int, int]:
    """Rows and columns for the axes that are not channels; a single one lies along the rows, which can be cut into tiles."""
    if len(others) <= 1:
        return (others[0] if others else 1), 1
    return math.prod(others[:-1]), others[-1]


def axis_first(look: Look, axis: int) -> Look:
    """The look with `axis` (counted with the batch) right behind the batch, the others in their order."""
    place = axis - 1
    return look.permuted([place, *(other for other in range(len(look.order)) if other != place)])


def from_map(builder: NetworkBuilder, value: Value, axis: int, name: str) -> None:
    """`value` is the stored map `name`, whose channels are its `axis`: the inverse of `as_map`."""
    sizes = value.shape[1:]
    place = axis - 1
    others = [other for other in range(len(sizes)) if other != place]
    split = (sizes[place], *(sizes[other] for other in others))
    order = tuple(0 if other == place else 1 + others.index(other) for other in range(len(sizes)))
    builder.bind_look(value, Look(name, split, order))


def as_rows(builder: NetworkBuilder, value: Value, axis: int, layer: str) -> str:
    """A stored (batch, all other axes, size of `axis`, 1): windows of all rows run over the whole axis."""
    look = builder.look(value, layer)
    look = look.permuted([*_others(value, axis), axis - 1])
    *others, count = look.shape
    return builder.stored(look, (value.shape[0], math.prod(others), count, 1), layer)


def from_rows(builder: NetworkBuilder, value: Value, axis: int, name: str) -> None:
    """`value` is the stored map `name`, whose rows are its `axis`: the inverse of `as_rows`."""
    places = [*_others(value, axis), axis - 1]
    split = tuple(value.shape[1 + place] for place in places)
    builder.bind_look(value, Look(name, split, tuple(places.index(place) for place in range(len(places)))))


def _others(value: Value, axis: int) -> list[int]:
    return [place for place in range(len(value.shape) - 1) if place != axis - 1]
