"""Who makes what: stretches of operators, each cut along one axis -> the pieces of every core.

    whole       core 0 makes all: operators that can't be cut, such as the host's
    alone       the first core of each group makes all of the group's images
    images      each core makes some of the images
    rows        each core makes some rows of the maps that leave the stretch, and what it needs for them, halo included
    channels    each core makes some channels of what leaves the stretch
    stage       one core makes all, for one chunk of images after another; the next stage is the next core's

Cores are in `groups` that share out the images first; within a group they are its parts, and share out the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nas.compiler.network import Network
from nas.compiler.parallel.box import Box, Range, shares, whole_box, with_axis
from nas.compiler.parallel.cut import CHANNELS, IMAGES, ROWS, cut_step
from nas.compiler.parallel.piece import Piece
from nas.compiler.regions import MAP_RANK

Way = Literal["whole", "alone", "images", "rows", "channels", "stage"]


@dataclass(frozen=True)
class Stretch:
    """The operators first..last - 1, and how they are shared out."""

    first: int
    last: int
    way: Way


@dataclass(frozen=True)
class Partition:
    """name: for people; groups x parts cores work. chunks: into which the images are cut for a pipeline of stages."""

    name: str
    stretches: tuple[Stretch, ...]
    groups: int
    parts: int
    chunks: int = 1

    @property
    def cores(self) -> int:
        return self.groups * self.parts


def pieces_of(network: Network, partition: Partition) -> list[Piece]:
    """What each core makes, stretch by stretch."""
    if partition.chunks > 1:
        return list(_pipeline(network, partition))
    found: list[Piece] = []
    for stretch in partition.stretches:
        goals = leaving(network, stretch.first, stretch.last)
        shares_of = [share_of(network, name, stretch.way, partition) for name in goals]
        for core in range(partition.cores):
            found += _piece(core, stretch, {name: boxes[core] for name, boxes in zip(goals, shares_of, strict=True)})
    return found


def _piece(core: int, stretch: Stretch, goals: dict[str, Box]) -> Iterator[Piece]:
    """What there is to make of the goals, if anything: inputs, and so results, need not have equally many images."""
    made = {name: box for name, box in goals.items() if all(start < stop for start, stop in box)}
    if made:
        yield Piece(core, stretch.first, stretch.last, made)


def _pipeline(network: Network, partition: Partition) -> Iterator[Piece]:
    """Chunk by chunk, stage by stage."""
    for chunk in range(partition.chunks):
        for core, stretch in enumerate(partition.stretches):
            goals = leaving(network, stretch.first, stretch.last)
            yield from _piece(
                core, stretch, {name: share_of(network, name, stretch.way, partition)[chunk] for name in goals}
            )


def leaving(network: Network, first: int, last: int) -> list[str]:
    """The results of the operators first..last - 1 that are read behind them or are the network's."""
    users = network.users
    return [
        name
        for operator in network.operators[first:last]
        for name in operator.outputs
        if name in network.outputs or any(user >= last for user in users.get(name, ()))
    ]


def share_of(network: Network, name: str, way: Way, partition: Partition) -> list[Box]:
    """The part of a tensor that each core makes, or each chunk of a stage; empty for those that make none."""
    shape = network.tensors[name].shape
    whole = whole_box(shape)
    nothing = with_axis(whole, IMAGES, (0, 0))
    if way == "whole":
        return [whole] + [nothing] * (partition.cores - 1)
    if way == "images":
        return [with_axis(whole, IMAGES, part) for part in shares(shape[IMAGES], partition.cores)]
    if way == "stage":
        return [with_axis(whole, IMAGES, part) for part in shares(shape[IMAGES], partition.chunks)]
    boxes: list[Box] = []
    for images in shares(shape[IMAGES], partition.groups):
        mine = with_axis(whole, IMAGES, images)
        cuts = None if way == "alone" else _cuts(network, name, way, partition.parts)
        boxes += (
            [mine] + [nothing] * (partition.parts - 1)
            if cuts is None
            else [with_axis(mine, ROWS if way == "rows" else CHANNELS, part) for part in cuts]
        )
    return boxes


def _cuts(network: Network, name: str, way: Way, parts: int) -> list[Range] | None:
    """The ranges of rows or channels; None where the tensor has none to share out."""
    shape = network.tensors[name].shape
    if way == "rows":
        return shares(shape[ROWS], parts) if len(shape) == MAP_RANK + 1 else None
    (operator,) = (each for each in network.operators if name in each.outputs)
    step = cut_step(operator, network)
    return None if len(shape) <= CHANNELS or step >= shape[CHANNELS] else shares(shape[CHANNELS], parts, step)
