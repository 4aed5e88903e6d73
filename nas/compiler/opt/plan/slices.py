"""Chains that go channel by channel are done slice by slice: all rows of some channels, from the first member to the last.

A convolution that widens a map for a depthwise one, and what pools that, need no halo so, nothing twice, and of the weights no
more than those of two slices at a time. What the first member reads is there for all slices, so it has to be small: late layers
of a network have such maps, and more weights than fit.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from nas.compiler.opt.engines.share import Pace
from nas.compiler.opt.engines.spread import constant_copy
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.opt.plan.balance import Work, balanced
from nas.compiler.opt.plan.chain import Chain
from nas.compiler.opt.plan.passing import lags_of
from nas.compiler.regions import MAP_RANK, aligned
from nas.compiler.tiling import Part, Tile, local_copy, part_of, roles
from nas.core.units import ceil_div
from nas.hw.spec import Processor

# So many widths are tried, from the widest that fits.
_TRIED = 3
# Fewer slices save too little room.
_FEWEST = 2


class SliceTurn(NamedTuple):
    """`member` makes these channels, the slice of this number, of an image."""

    member: int
    slice: int
    image: int
    channels: tuple[int, int]


@dataclass(frozen=True)
class Slices:
    """Slices of `channels` channels. lags: how many slices each member is behind the first one; paces: how each is shared between
    the engines, None for one engine only. takes, again, stores: see `Chain`. cycles: of the engines, by estimate.
    """

    channels: int
    lags: tuple[int, ...]
    paces: tuple[Pace | None, ...]
    takes: tuple[int, ...]
    again: tuple[frozenset[int], ...]
    stores: tuple[bool, ...]
    cycles: float = field(compare=False)

    def turns(self, members: Sequence[Operands]) -> Iterator[SliceTurn]:
        """The order of work: a slice of all images, so that its constants serve all of them, before the next one."""
        count, images = members[0].size[1], len(members[0].images)
        starts = range(0, count, self.channels)
        for time in range(len(starts) * images + self.lags[-1]):
            for number, lag in enumerate(self.lags):
                if 0 <= time - lag < len(starts) * images:
                    place, image = divmod(time - lag, images)
                    channels = starts[place], min(starts[place] + self.channels, count)
                    yield SliceTurn(number, place, image, channels)


def choose_slices(
    chain: Chain, on_chip: tuple[frozenset[str], ...], free_bytes: int, processor: Processor, sharing: bool
) -> Slices | None:
    """The slices of a chain done first by estimate, of the widest that fit; None where it can't be done so, or nothing fits.

    on_chip: the slots of each member. sharing: whether convolutions may be cut between the engines.
    """
    if not _can_be_sliced(chain):
        return None
    count = chain.members[0].size[1]
    step = math.lcm(*(member.channel_step for member in chain.members))
    columns = processor.matrix.columns
    step = columns if columns % step == 0 else step
    best, fitting, pieces = None, 0, _FEWEST
    while fitting < _TRIED and pieces <= ceil_div(count, step):
        channels = ceil_div(ceil_div(count, pieces), step) * step
        for lags in dict.fromkeys((lags_of(chain.members), (0,) * len(chain.members))):
            if _slice_bytes(chain, on_chip, channels, lags) <= free_bytes:
                found = _slices(chain, channels, lags, processor)
                best = found if best is None or found.cycles < best.cycles else best
                fitting += 1
                break
        pieces += max(1, pieces // 2)
    return best if best is None or sharing else replace(best, paces=(None,) * len(chain.members))


def _can_be_sliced(chain: Chain) -> bool:
    """Whether all members but the first go channel by channel, on maps of as many, and nothing is read for two of them at a time."""
    members = chain.members
    if any(chain.again) or any(len(write.shape) != MAP_RANK for _, write in (each.images[0] for each in members)):
        return False
    return all(before.size[1] == after.size[1] and after.is_channelwise for before, after in pairwise(members))


def _part(member: Operands, channels: int) -> Part:
    return part_of(member.function, *member.images[0], Tile((0, member.size[0]), (0, channels)))


def _slice_bytes(chain: Chain, on_chip: tuple[frozenset[str], ...], channels: int, lags: tuple[int, ...]) -> int:
    """Two generations of all that comes or goes, as many of what is handed on as live at a time, and one of what stays."""
    images, total = len(chain.members[0].images), 0
    for place, (member, taken, slots, stores) in enumerate(
        zip(chain.members, chain.takes, on_chip, chain.stores, strict=True)
    ):
        part = _part(member, channels)
        for number, (region, whole, role) in enumerate(
            zip(part.reads, member.images[0][0], roles(part.function), strict=True)
        ):
            if region.memory in member.constants:
                total += 2 * constant_copy(region, role, member.spread, "", 0)[1]
            elif region.memory not in slots and (place == 0 or number != taken):
                generations = images if region.shape == whole.shape else 2
                total += generations * aligned(local_copy(region, role, "", 0).end_bytes)
        if part.write.memory not in slots:
            last = place == len(chain.members) - 1
            generations = 2 if last or stores else 1 + lags[place + 1] - lags[place]
            total += generations * aligned(local_copy(part.write, "output", "", 0).end_bytes)
    return total


def _slices(chain: Chain, channels: int, lags: tuple[int, ...], processor: Processor) -> Slices:
    members = chain.members
    works = [Work(_part(member, channels), member.array) for member in members]
    paces, cycles = balanced(works, lags[-1] > 0, 0, processor)
    count = len(members[0].images) * members[0].size[1] / channels
    return Slices(channels, lags, paces, chain.takes, chain.again, chain.stores, cycles * (count + lags[-1]))
