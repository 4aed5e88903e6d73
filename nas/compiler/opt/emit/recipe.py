"""Operands, and what of them lies on chip -> a recipe: the commands in tiles, with slots in the place of addresses.

A tile's off-chip parts get buffers of their own, loaded once for all tiles in a row that share them. What an operator
reads of constants comes as one stretch for each range of channels. A recipe depends on content alone, so that equal layers,
of one network or of the next one, share it.
"""

from collections.abc import Sequence

from nas.compiler.opt.emit.cook import Cook, Held, Recipe, seen_whole
from nas.compiler.opt.engines.share import Pace
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.opt.plan.cut import choose_tiling
from nas.compiler.opt.plan.halo import Stripe, stripes_of
from nas.compiler.opt.plan.heights import Stripes
from nas.compiler.opt.plan.passing import turns
from nas.compiler.opt.plan.slices import Slices
from nas.compiler.tiling import Compute, Part, Tile, input_rows, part_of
from nas.hw.spec import Processor
from nas.ir.tensor import Region


def tiled(
    operands: Operands, on_chip: frozenset[str], free_bytes: int, pace: Pace | None, processor: Processor
) -> Recipe:
    """One operator in tiles that fit into `free_bytes`. on_chip: its slots that lie there; pace: None for one engine only."""
    tiling = choose_tiling(operands, on_chip, free_bytes, pace, processor)
    cook = Cook((on_chip,), processor)
    held = Held()
    constants: dict[Region, Region] | None = None
    for image, tile in tiling.steps():
        part = part_of(operands.function, *tiling.operands.images[image], tile)
        constants = cook.constants_for(0, operands, part, constants)
        cook.finish(0, part, cook.local_reads(0, part, constants, held), pace, operands.array)
    return cook.recipe


def striped(
    members: tuple[Operands, ...], on_chip: tuple[frozenset[str], ...], stripes: Stripes, processor: Processor
) -> Recipe:
    """A chain of operators, stripe by stripe of so many rows of the last one's; their constants stay for the whole of it."""
    cook = Cook(on_chip, processor)
    constants: list[dict[Region, Region] | None] = [None] * len(members)
    row_count = members[-1].size[0]
    ranges = [(start, min(start + stripes.rows, row_count)) for start in range(0, row_count, stripes.rows)]
    rows = stripes_of(members, stripes.takes, ranges, stripes.keeps)
    passed = _Passed(cook, members, stripes, rows)
    held = [(-1, Held())] * len(members)
    # By stripe the rows of what the first member reads, and where they are.
    loaded: dict[int, tuple[tuple[int, int], Region]] = {}
    # By image and member the rows that have gone to dram as well: those above.
    stored: dict[tuple[int, int], int] = {}
    # The stripes of all images in a row.
    for turn in turns(len(rows) * len(members[0].images), stripes.passing, members):
        stripe, number, channels, _ = turn
        image, place = divmod(stripe, len(rows))
        member, made = members[number], rows[place][number].made
        reads, write = member.images[image]
        if number < len(members) - 1:
            write = passed.written(stripe, number, channels)
        if made[0] >= made[1]:
            continue
        if number:
            taken = stripes.takes[number]
            reads = (*reads[:taken], passed.written(stripe, number - 1, channels), *reads[taken + 1 :])
            if stripes.again[number]:
                reads = _with_what_is_there(reads, stripes.again[number], *loaded[stripe], member.function, made)
        part = part_of(member.function, reads, write, Tile(made, (0, member.size[1])))
        there = constants[number] = cook.constants_for(number, member, part, constants[number])
        if held[number][0] != stripe:
            held[number] = stripe, Held()
        part = Part(part.function, cook.local_reads(number, part, there, held[number][1]), part.write)
        if not number and any(stripes.again):
            read = input_rows(member.function, reads[0], made)
            loaded[stripe] = read, seen_whole(part.reads[0], reads[0], read[0])
        if channels != (0, member.size[1]):
            part = part_of(*part, Tile((0, made[1] - made[0]), channels))
        cook.finish(number, part, part.reads, stripes.pace(turn), member.array)
        if stripes.stores[number]:
            fresh = max(made[0], stored.get((image, number), 0)), made[1]
            stored[image, number] = made[1]
            cook.store(number, passed.written(stripe, number, channels), member.images[image][1], fresh, channels)
    return cook.recipe


def sliced(
    members: tuple[Operands, ...], on_chip: tuple[frozenset[str], ...], slices: Slices, processor: Processor
) -> Recipe:
    """A chain of operators, slice by slice of so many channels of all their results; of the constants each slice has its own."""
    cook = Cook(on_chip, processor)
    constants: list[dict[Region, Region] | None] = [None] * len(members)
    held = [[Held() for _ in members] for _ in members[0].images]
    # By slice and image what the last member to have come to it hands on.
    handed_on: dict[tuple[int, int], Region] = {}
    for turn in slices.turns(members):
        member, channels, number = members[turn.member], turn.channels, turn.member
        reads, write = member.images[turn.image]
        if number:
            taken = slices.takes[number]
            reads = (*reads[:taken], handed_on.pop((turn.slice, turn.image)), *reads[taken + 1 :])
        whole = write
        if number < len(members) - 1:
            write = cook.part(write, (0, member.size[0]), channels)
            handed_on[turn.slice, turn.image] = write
        part = part_of(member.function, reads, write, Tile((0, member.size[0]), channels))
        there = constants[number] = cook.constants_for(number, member, part, constants[number])
        local = cook.local_reads(number, part, there, held[turn.image][number])
        cook.finish(number, part, local, slices.paces[number], member.array)
        if slices.stores[number]:
            cook.store(number, write, whole, (0, member.size[0]), channels)
    return cook.recipe


class _Passed:
    """What the members of a chain hand on: of each stripe, or chunk of one, the region of a whole map of which only that exists."""

    def __init__(self, cook: Cook, members: tuple[Operands, ...], stripes: Stripes, rows: Sequence[Stripe]) -> None:
        self._cook, self._members, self._stripes, self._rows = cook, members, stripes, rows
        self._there: dict[tuple[int, int, int], Region] = {}

    def written(self, stripe: int, number: int, channels: tuple[int, int]) -> Region:
        """Where a member's result is, or is to be: then with what is kept of the stripe before."""
        if number != self._stripes.passing.pair:
            channels = 0, self._members[number].size[1]
        key = stripe, number, channels[0]
        if key not in self._there:
            self._there[key] = self._begun(stripe, number, channels)
        return self._there[key]

    def _begun(self, stripe: int, number: int, channels: tuple[int, int]) -> Region:
        image, place = divmod(stripe, len(self._rows))
        rows = self._rows[place][number].held
        write = self._members[number].images[image][1]
        if self._stripes.keeps and place:
            return self._kept(self._there[stripe - 1, number, channels[0]], write, number, place, channels)
        if not self._stripes.rolls(number):
            return self._cook.part(write, rows, channels)
        if channels[0]:
            return self._there[stripe, number, 0]
        tallest = max(each[number].held[1] - each[number].held[0] for each in self._rows)
        return self._cook.part(write, (rows[0], rows[0] + tallest), (0, self._members[number].size[1]))

    def _kept(self, before: Region, write: Region, number: int, place: int, channels: tuple[int, int]) -> Region:
        """The region of the next stripe, where that is another one than `before`, with the rows that are kept."""
        earlier, rows = self._rows[place - 1][number], self._rows[place][number]
        if rows.held == earlier.held:
            return before
        if not self._stripes.rolls(number):
            now = self._cook.part(write, rows.held, channels)
            self._cook.move(number, before, now, rows.kept, channels)
            return now
        shift = rows.held[0] - earlier.held[0]
        now = seen_whole(before, write, shift)
        # What moves in one command must not lie where it moves to.
        for start in range(*rows.kept, shift) if shift else ():
            self._cook.move(number, before, now, (start, min(start + shift, rows.kept[1])), channels)
        return now


def _with_what_is_there(
    reads: tuple[Region, ...],
    again: frozenset[int],
    rows: tuple[int, int],
    there: Region,
    function: Compute,
    made: tuple[int, int],
) -> tuple[Region, ...]:
    """Operands whose `rows` are on chip for the first member, `there`, in the place of those in dram."""

    def found(number: int, region: Region) -> Region:
        first, last = made if number else input_rows(function, region, made)
        return there if number in again and rows[0] <= first and last <= rows[1] else region

    return tuple([found(number, region) for number, region in enumerate(reads)])
