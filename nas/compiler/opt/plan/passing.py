"""The order in which the members of a chain work on its stripes, so that both engines have something to do at all times.

What one engine makes of the other's map it makes a stripe later, while that makes the next one. And where a convolution widens
a map for another that goes channel by channel, a stripe of the wide map comes in chunks of channels: only a few of these are
ever on chip, so that stripes can be several times as tall, which leaves fewer rows to make twice and longer streams for
the array.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from nas.compiler.opt.layout.operands import Operands
from nas.compiler.regions import MAP_RANK
from nas.compiler.tiling import engine_of
from nas.core.units import ceil_div
from nas.hw.spec import Processor

# So many chunks one engine is ahead of the other.
_AHEAD = 2
# So many chunks later, beyond the one that it waits for, comes what needs all of them, so as not to hold up the next stripe's.
_BEHIND = 1


class Passing(NamedTuple):
    """lags: how many stripes each member is behind the first one. chunk: the member `pair` makes a stripe in chunks of so many
    channels, and the next one takes them up one by one; 0 for none. Then lags count chunks.
    """

    lags: tuple[int, ...]
    chunk: int = 0
    pair: int = -1

    @property
    def overlaps(self) -> bool:
        """Whether the engines work at the same time."""
        return self.lags[-1] > 0

    def is_chunked(self, member: int) -> bool:
        """Whether the member makes its stripes chunk by chunk."""
        return self.chunk > 0 and member in (self.pair, self.pair + 1)

    def chunks(self, members: Sequence[Operands]) -> int:
        """The chunks of a stripe."""
        return ceil_div(members[self.pair].size[1], self.chunk) if self.chunk else 1

    def generations(self, member: int) -> int:
        """How many stripes of what `member` makes for the next one, or chunks of one, are there at a time."""
        behind = self.lags[member + 1] - self.lags[member]
        return 1 + (behind if self.chunk and member == self.pair else min(1, behind))

    def rolls(self, member: int) -> bool:
        """Whether one buffer does for what `member` makes, where rows are kept: a stripe, or chunk, has been read when the next one's
        is made.
        """
        return self.generations(member) == 1 or member == self.pair


class Turn(NamedTuple):
    """`member` makes these channels of a stripe. is_late: the first member has nothing left to do."""

    stripe: int
    member: int
    channels: tuple[int, int]
    is_late: bool


def in_turn(members: Sequence[Operands]) -> Passing:
    """All members make a stripe before the next one begins."""
    return Passing((0,) * len(members))


def overlapping(members: Sequence[Operands], takes: Sequence[int], processor: Processor) -> list[Passing]:
    """The ways to have both engines at work: by chunks as wide as the array, where a map can be passed so, and by whole stripes.

    takes: the operand of each member that the one before it makes.
    """
    lags, found = lags_of(members), []
    columns = processor.matrix.columns
    pair = next(
        (
            place
            for place, link in enumerate(pairwise(members))
            if not takes[place + 1] and _by_channels(*link, columns)
        ),
        None,
    )
    if pair is not None:
        late = [lag + (place > pair) * (_AHEAD - 1) + (place > pair + 1) * _BEHIND for place, lag in enumerate(lags)]
        if 2 * columns <= members[pair].size[1]:
            found = [Passing(tuple(late), columns, pair)]
    return [*found, Passing(lags)]


def lags_of(members: Sequence[Operands]) -> tuple[int, ...]:
    """How many turns each member is behind the first one, where what one engine makes of the other's it makes a turn later."""
    lags, engines = [0], [engine_of(member.function) for member in members]
    for before, engine in pairwise(engines):
        lags.append(lags[-1] + (before != engine))
    return tuple(lags)


def _by_channels(member: Operands, after: Operands, columns: int) -> bool:
    """Whether the second one, on the other engine, can begin with the first channels that the first one makes."""
    reads, write = after.images[0]
    return (
        engine_of(member.function) != engine_of(after.function)
        and after.is_channelwise
        and len(write.shape) == len(reads[0].shape) == MAP_RANK
        and columns % math.lcm(member.channel_step, after.channel_step) == 0
    )


def turns(stripes: int, passing: Passing, members: Sequence[Operands]) -> Iterator[Turn]:
    """The order of work on so many stripes."""
    chunks = passing.chunks(members)
    for time in range(stripes * chunks + passing.lags[-1]):
        for number, (member, lag) in enumerate(zip(members, passing.lags, strict=True)):
            stripe, chunk = divmod(time - lag, chunks)
            channels = (0, member.size[1])
            if passing.is_chunked(number):
                channels = (chunk * passing.chunk, min((chunk + 1) * passing.chunk, member.size[1]))
            elif chunk != (0 if number < passing.pair else chunks - 1):
                continue
            if 0 <= stripe < stripes:
                yield Turn(stripe, number, channels, time >= stripes * chunks)
