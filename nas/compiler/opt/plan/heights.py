"""Chains of operators -> the stripes in which they are done: how tall, in which order of work, and shared in which way."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nas.compiler.opt.engines.share import Pace
from nas.compiler.opt.engines.spread import constant_copy
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.opt.plan.balance import Work, balanced
from nas.compiler.opt.plan.chain import Chain
from nas.compiler.opt.plan.halo import Rows, Stripe, stripes_of
from nas.compiler.opt.plan.passing import Passing, Turn, in_turn, overlapping
from nas.compiler.regions import MAP_RANK, aligned
from nas.compiler.tiling import Tile, input_rows, part_of, reads_rows, roles
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.tensor import stored_bytes

# A stripe that makes more than this share of its rows twice is not worth it.
_LARGEST_OVERHEAD = 0.6
# Fewer stripes save too little room.
_FEWEST = 4
# So much longer than by estimate engines that overlap take where rows are kept: what is moved comes between.
_WAITING = 1.1
# So many heights are tried, from the tallest that fits.
_TRIED = 3


@dataclass(frozen=True)
class Stripes:
    """Stripes of `rows` rows of the last member's output. passing: the order of work; paces: how each member is shared between
    the engines, None for one engine only; with chunks, that of a whole chunk. takes, again, stores: see `Chain`. keeps: whether
    rows of one stripe are kept for the next. cycles: of the engines, by estimate.
    """

    rows: int
    passing: Passing
    paces: tuple[Pace | None, ...]
    takes: tuple[int, ...]
    again: tuple[frozenset[int], ...]
    stores: tuple[bool, ...]
    keeps: bool
    cycles: float = field(compare=False)

    def rolls(self, member: int) -> bool:
        """Whether all stripes of what a member hands on have one buffer, in which rows that are kept move up."""
        return self.keeps and self.passing.rolls(member)

    def pace(self, turn: Turn) -> Pace | None:
        """What is shared otherwise is the last chunk of a stripe, and those beside which the matrix engine has nothing else to do."""
        pace = self.paces[turn.member]
        if pace is None or not self.passing.is_chunked(turn.member):
            return pace
        channels = turn.channels[1] - turn.channels[0]
        return Pace(0, 0 if turn.is_late else pace.lead_cycles * channels // self.passing.chunk)


def choose_stripes(
    chain: Chain,
    on_chip: tuple[frozenset[str], ...],
    free_bytes: int,
    processor: Processor,
    sharing: bool,
) -> Stripes | None:
    """The stripes of a chain done first by estimate, of the tallest that fit, at least four of them; None where they overlap too
    much.

    They fit twice, so that one is begun while the other is finished, or else once. on_chip: the slots of each member.
    sharing: whether convolutions may be cut between the engines.
    """
    members = chain.members
    choice = _Choice(chain, on_chip, free_bytes, processor)
    passings = overlapping(members, chain.takes, processor) if sharing else []
    found = [each for passing in passings if (each := choice.best(passing)) is not None]
    if not found and (each := choice.best(in_turn(members))) is not None:
        found = [each]
    if not found:
        return None
    best = min(found, key=lambda each: each.cycles)
    return best if sharing else replace(best, paces=(None,) * len(members))


class _Choice:
    """One chain, and the stripes that are tried on it."""

    def __init__(
        self,
        chain: Chain,
        on_chip: tuple[frozenset[str], ...],
        free_bytes: int,
        processor: Processor,
    ) -> None:
        self.chain, self.on_chip = chain, on_chip
        self.free_bytes, self.processor = free_bytes, processor

    def best(self, passing: Passing) -> Stripes | None:
        """The stripes with the fewest cycles by estimate."""
        found = [each for keeps in (False, True) if (each := self._best(passing, keeps)) is not None]
        return min(
            found, key=lambda each: each.cycles * (_WAITING if each.keeps and passing.overlaps else 1.0), default=None
        )

    def _is_possible(self, passing: Passing, keeps: bool) -> bool:
        # What leaves the chip leaves it in few transfers: these are what such a chain waits for.
        if passing.chunk and any(self.chain.stores):
            return False
        if keeps:
            return _can_keep(self.chain, passing)
        return not passing.chunk or self.chain.members[-1].images[0][1].memory in self.on_chip[-1]

    def _best(self, passing: Passing, keeps: bool) -> Stripes | None:
        if not self._is_possible(passing, keeps):
            return None
        best, fitting = None, 0
        for rows in _heights(self.chain.members):
            stripe = _middle(self.chain, rows, keeps)
            if _group_bytes(self.chain, self.on_chip, stripe, passing, keeps) <= self.free_bytes:
                found = _stripes(self.chain, rows, stripe, passing, keeps, self.processor)
                if found is not None and (best is None or found.cycles < best.cycles):
                    best = found
                fitting += 1
            if fitting == _TRIED:
                break
        return best


def _can_keep(chain: Chain, passing: Passing) -> bool:
    """Whether rows can be moved from one stripe to the next: of maps, by whole bytes, and of chunks that have been read by then.

    No row may see only padding: it could be all that is new in a stripe.
    """
    maps = [member.images[0][1] for member in chain.members[:-1]]
    pair = passing.pair
    in_time = not passing.chunk or passing.lags[pair + 1] - passing.lags[pair] < passing.chunks(chain.members)
    return (
        in_time
        and not any(chain.again)
        and all(len(each.shape) == MAP_RANK and each.bits % 8 == 0 for each in maps)
        and all(
            reads_rows(member.function, member.images[0][0], (row, row + 1))
            for member in chain.members
            for row in (0, member.size[0] - 1)
        )
    )


def _heights(members: tuple[Operands, ...]) -> list[int]:
    """The rows of the last member's output that a stripe may have, of whole blocks of the last spread: at least four stripes of
    one image, whole images where there are several.
    """
    row_count = members[-1].size[0]
    step = max(member.spread.rows if member.spread else 1 for member in members)
    heights: list[int] = []
    stripes = ceil_div(_FEWEST, len(members[0].images))
    while not heights or heights[-1] > 1:
        rows = ceil_div(row_count, stripes)
        heights.append(ceil_div(rows, step) * step if rows > step else rows)
        stripes += max(1, stripes // 4)
    return list(dict.fromkeys(heights))


def _stripes(
    chain: Chain, rows: int, stripe: Stripe, passing: Passing, keeps: bool, processor: Processor
) -> Stripes | None:
    """Stripes of so many rows, of which `stripe` is one of the middle; None where they overlap too much."""
    members = chain.members
    row_count = members[-1].size[0]
    if not _all_read(chain, row_count, rows):
        return None
    made = [stop - start for start, stop in (each.made for each in stripe)]
    if min(made) < 1:
        return None
    overhead = max(
        height * row_count / (rows * member.size[0]) - 1 for height, member in zip(made, members, strict=True)
    )
    if overhead > _LARGEST_OVERHEAD:
        return None
    moving_cycles = sum(_moving_cycles(member, each, processor) for member, each in zip(members, stripe, strict=True))
    paces, cycles = balanced(_works(members, stripe, passing), passing.overlaps, moving_cycles, processor)
    # Nothing overlaps with the load of the first stripe, and little with the first and the last ones' work.
    alone = passing.lags[-1] / passing.chunks(members) if passing.chunk else passing.lags[-1] + 1
    return Stripes(
        rows,
        passing,
        paces,
        chain.takes,
        chain.again,
        chain.stores,
        keeps,
        cycles * (len(members[0].images) * row_count / rows + alone),
    )


def _moving_cycles(member: Operands, rows: Rows, processor: Processor) -> int:
    """The cycles in which the vector engine moves the rows that are kept."""
    start, stop = rows.kept
    count = (stop - start) * member.images[0][1].shape[-1] * member.size[1]
    return processor.issue_cycles + ceil_div(count, processor.vector.lanes) if count > 0 else 0


def _works(members: Sequence[Operands], stripe: Stripe, passing: Passing) -> list[Work]:
    """What the members do for one stripe."""
    works = []
    for place, (member, rows) in enumerate(zip(members, stripe, strict=True)):
        channels, times = member.size[1], 1
        if passing.is_chunked(place):
            channels, times = passing.chunk, passing.chunks(members)
        part = part_of(member.function, *member.images[0], Tile(rows.made, (0, channels)))
        works.append(Work(part, member.array, times))
    return works


def _all_read(chain: Chain, row_count: int, rows: int) -> bool:
    """Whether every stripe of every map that is read or made has a row: one that sees only padding has none.

    If there is any, the first or the last is one.
    """
    for row in (0, (row_count - 1) // rows * rows):
        (stripe,) = stripes_of(chain.members, chain.takes, [(row, min(row + rows, row_count))])
        made = [each.made for each in stripe]
        read = [
            input_rows(member.function, member.images[0][0][0], own)
            for member, own in zip(chain.members, made, strict=True)
        ]
        if any(start >= stop for start, stop in (*read, *made)):
            return False
    return True


def _middle(chain: Chain, rows: int, keeps: bool) -> Stripe:
    """A stripe of the middle."""
    row_count = chain.members[-1].size[0]
    start = (row_count // 2) // rows * rows
    ranges = [(start - rows, start), (start, min(start + rows, row_count))]
    return stripes_of(chain.members, chain.takes, ranges if keeps and start else ranges[1:], keeps)[-1]


def _group_bytes(
    chain: Chain, on_chip: tuple[frozenset[str], ...], stripe: Stripe, passing: Passing, keeps: bool
) -> int:
    """Constants of all members, and the stripes of all maps that are not on chip: one of each that lives at a time, and another
    one of what comes or goes while the engines are at work, where they don't wait for each other anyway, or where what comes is
    held until the end.
    """
    overlap = 2 if passing.overlaps or any(chain.again) else 1
    total = 0
    for place, (member, taken, again, stores, slots, (held, made)) in enumerate(
        zip(*chain, on_chip, stripe, strict=True)
    ):
        reads, write = member.images[0]
        for number, (region, role) in enumerate(zip(reads, roles(member.function), strict=True)):
            if region.memory in member.constants:
                total += constant_copy(region, role, member.spread, "", 0)[1]
            elif region.memory not in slots and number not in again and (place == 0 or number != taken):
                height = input_rows(member.function, region, made)
                extent = (*region.shape[:-2], height[1] - height[0], region.shape[-1])
                generations = overlap if place else max(overlap, _generations_read(chain, passing))
                total += generations * aligned(stored_bytes(extent, region.bits))
        if write.memory not in slots:
            outer, generations = write.shape[:-2], overlap
            if place < len(chain.members) - 1:
                generations = 1 if keeps and passing.rolls(place) else passing.generations(place)
                generations = max(generations, overlap) if stores else generations
                outer = (passing.chunk,) if passing.chunk and place == passing.pair and not keeps else outer
            extent = (*outer, held[1] - held[0], write.shape[-1])
            total += generations * aligned(stored_bytes(extent, write.bits))
    return total


def _generations_read(chain: Chain, passing: Passing) -> int:
    """How many stripes of what the first member reads are there at a time: those that somebody reads again, and the next one."""
    late = max((lag for lag, again in zip(passing.lags, chain.again, strict=True) if again), default=-1)
    return 0 if late < 0 else 2 + ceil_div(late, passing.chunks(chain.members))
