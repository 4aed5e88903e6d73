"""Operands, and what of them lies on chip -> a recipe: the commands in tiles, with slots in the place of addresses.

A tile's off-chip parts get buffers of their own, loaded once for all tiles in a row that share them. What an operator
reads of constants comes as one stretch for each range of channels. A recipe depends on content alone, so that equal layers,
of one network or of the next one, share it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.compiler.opt.emit.constants import locals_of, stretch_bytes
from nas.compiler.opt.engines.share import Array, Pace, parts_on_engines
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.opt.plan.cut import choose_tiling
from nas.compiler.opt.plan.halo import Stripe, stripes_of
from nas.compiler.opt.plan.heights import Stripes
from nas.compiler.opt.plan.passing import turns
from nas.compiler.tiling import Compute, Part, Tile, engine_of, input_rows, local_copy, part_of, roles
from nas.hw.spec import Processor
from nas.ir.command import Attributes, Command, Copy, Load, Store
from nas.ir.tensor import Region, box, dense


@dataclass
class Recipe:
    """commands: each with the number of the operator that it belongs to; a region's memory is a slot of that operator,
    "buffer i" or "stretch i". buffers: the size of each. stretches: the parts of an operator's constants, with their roles.
    """

    commands: list[tuple[int, Command]] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)
    stretches: list[tuple[int, list[tuple[Region, str]]]] = field(default_factory=list)


def tiled(
    operands: Operands, on_chip: frozenset[str], free_bytes: int, pace: Pace | None, processor: Processor
) -> Recipe:
    """One operator in tiles that fit into `free_bytes`. on_chip: its slots that lie there; pace: None for one engine only."""
    tiling = choose_tiling(operands, on_chip, free_bytes, pace, processor)
    cook = _Cook((on_chip,), processor)
    held = _Held()
    constants: dict[Region, Region] | None = None
    for image, tile in tiling.steps():
        part = part_of(operands.function, *operands.images[image], tile)
        constants = cook.constants_for(0, operands, part, constants)
        cook.finish(0, part, cook.local_reads(0, part, constants, held), pace, operands.array)
    return cook.recipe


def striped(
    members: tuple[Operands, ...], on_chip: tuple[frozenset[str], ...], stripes: Stripes, processor: Processor
) -> Recipe:
    """A chain of operators, stripe by stripe of so many rows of the last one's; their constants stay for the whole of it."""
    cook = _Cook(on_chip, processor)
    constants: list[dict[Region, Region] | None] = [None] * len(members)
    row_count = members[-1].size[0]
    ranges = [(start, min(start + stripes.rows, row_count)) for start in range(0, row_count, stripes.rows)]
    rows = stripes_of(members, stripes.takes, ranges, stripes.keeps)
    passed = _Passed(cook, members, stripes, rows)
    held = [(-1, _Held())] * len(members)
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
            held[number] = stripe, _Held()
        part = Part(part.function, cook.local_reads(number, part, there, held[number][1]), part.write)
        if not number and any(stripes.again):
            read = input_rows(member.function, reads[0], made)
            loaded[stripe] = read, _seen_whole(part.reads[0], reads[0], read[0])
        if channels != (0, member.size[1]):
            part = part_of(*part, Tile((0, made[1] - made[0]), channels))
        cook.finish(number, part, part.reads, stripes.pace(turn), member.array)
        if stripes.stores[number]:
            fresh = max(made[0], stored.get((image, number), 0)), made[1]
            stored[image, number] = made[1]
            cook.store(number, passed.written(stripe, number, channels), member.images[image][1], fresh)
    return cook.recipe


class _Passed:
    """What the members of a chain hand on: of each stripe, or chunk of one, the region of a whole map of which only that exists."""

    def __init__(self, cook: "_Cook", members: tuple[Operands, ...], stripes: Stripes, rows: Sequence[Stripe]) -> None:
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
            return self._cook.stripe(write, rows, channels)
        if channels[0]:
            return self._there[stripe, number, 0]
        tallest = max(each[number].held[1] - each[number].held[0] for each in self._rows)
        return self._cook.stripe(write, (rows[0], rows[0] + tallest), (0, self._members[number].size[1]))

    def _kept(self, before: Region, write: Region, number: int, place: int, channels: tuple[int, int]) -> Region:
        """The region of the next stripe, where that is another one than `before`, with the rows that are kept."""
        earlier, rows = self._rows[place - 1][number], self._rows[place][number]
        if rows.held == earlier.held:
            return before
        if not self._stripes.rolls(number):
            now = self._cook.stripe(write, rows.held, channels)
            self._cook.move(number, before, now, rows.kept, channels)
            return now
        shift = rows.held[0] - earlier.held[0]
        now = _seen_whole(before, write, shift)
        # What moves in one command must not lie where it moves to.
        for start in range(*rows.kept, shift) if shift else ():
            self._cook.move(number, before, now, (start, min(start + shift, rows.kept[1])), channels)
        return now


def _seen_whole(copy: Region, whole: Region, row: int, channel: int = 0) -> Region:
    """The region of a whole map of which only a part exists, in `copy`, whose first place is in this row and channel."""
    before = row * copy.strides[-2] + channel * copy.strides[-3]
    return Region(copy.memory, copy.offset_bytes - before * copy.bits // 8, whole.shape, copy.strides, copy.bits)


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


def _of_rows(region: Region, rows: tuple[int, int]) -> Region:
    """Some rows of all channels of a map."""
    return box(region, *[None] * (len(region.shape) - 2), rows)


class _Held(dict[tuple[str, Region], Region]):
    """Local copies that the next tiles may use again: the latest of each kind of operand."""

    def keep(self, role: str, source: Region, local: Region) -> None:
        for key in [key for key in self if key[0] == role]:
            del self[key]
        self[role, source] = local


class _Cook:
    """Writes a recipe. Operators go by their number; on_chip: of each the slots that lie there."""

    def __init__(self, on_chip: tuple[frozenset[str], ...], processor: Processor) -> None:
        self.recipe = Recipe()
        self._processor = processor
        self._on_chip = on_chip
        self._made: set[str] = set()

    def move(
        self, number: int, source: Region, target: Region, rows: tuple[int, int], channels: tuple[int, int]
    ) -> None:
        """A part of a map, if there are any rows of it, from where it is on chip to another place."""
        if rows[0] < rows[1]:
            self._add(number, "vector", (box(source, channels, rows),), box(target, channels, rows), Copy())

    def store(self, number: int, there: Region, write: Region, rows: tuple[int, int]) -> None:
        """Rows of a map, if there are any, from where they are on chip to where the map lies in dram."""
        if rows[0] < rows[1]:
            self._add(number, "dma_out", (_of_rows(there, rows),), _of_rows(write, rows), Store())

    def stripe(self, write: Region, rows: tuple[int, int], channels: tuple[int, int]) -> Region:
        """The region of a whole map of which only `rows` and `channels` exist, in a new buffer."""
        count = channels[1] - channels[0]
        outer = write.shape[:-2] if count == math.prod(write.shape[:-2]) else (count,)
        shape = (*outer, rows[1] - rows[0], write.shape[-1])
        local = dense(self._next_buffer(), 0, shape, write.bits)
        self._take(local.end_bytes)
        return _seen_whole(local, write, rows[0], channels[0])

    def constants_for(
        self, number: int, operands: Operands, part: Part, held: dict[Region, Region] | None
    ) -> dict[Region, Region]:
        """Where each constant of a part is on chip: those that are there, if they serve it too, or all by one new load."""
        wanted = [
            (region, role)
            for region, role in zip(part.reads, roles(part.function), strict=True)
            if region.memory in operands.constants
        ]
        # Of the constants only those that are maps are cut along rows.
        if held is not None and all(region in held for region, _ in wanted):
            return held
        if not wanted:
            return {}
        size_bytes = stretch_bytes(wanted, operands.spread)
        stretch = Region(f"stretch {len(self.recipe.stretches)}", 0, (size_bytes,), (1,), 8)
        self.recipe.stretches.append((number, wanted))
        buffer = self._next_buffer()
        self._take(size_bytes)
        self._add(number, "dma_in", (stretch,), Region(buffer, 0, (size_bytes,), (1,), 8), Load())
        return dict(zip((region for region, _ in wanted), locals_of(wanted, buffer, operands.spread), strict=True))

    def local_reads(self, number: int, part: Part, constants: dict[Region, Region], held: _Held) -> tuple[Region, ...]:
        """The operands of a part on chip: constants, what lives there, and copies of what lies in dram."""
        local = []
        for role, region in zip(roles(part.function), part.reads, strict=True):
            if region in constants:
                local.append(constants[region])
            elif self._is_here(number, region):
                local.append(region)
            else:
                if (role, region) not in held:
                    copy = self._copy_of(region, role)
                    self._add(number, "dma_in", (region,), copy, Load())
                    held.keep(role, region, copy)
                local.append(held[role, region])
        return tuple(local)

    def finish(self, number: int, part: Part, reads: tuple[Region, ...], pace: Pace | None, array: Array) -> None:
        """The work itself, and the way of its result to dram where it has to lie there."""
        is_here = self._is_here(number, part.write)
        local = part.write if is_here else self._copy_of(part.write, "output")
        pieces = parts_on_engines(Part(part.function, reads, local), pace, array, self._processor)
        for piece in pieces:
            self._add(number, engine_of(piece.function), piece.reads, piece.write, piece.function)
        if not is_here:
            self._add(number, "dma_out", (local,), part.write, Store())

    def _is_here(self, number: int, region: Region) -> bool:
        return region.memory in self._on_chip[number] or region.memory in self._made

    def _copy_of(self, region: Region, role: str) -> Region:
        """A new buffer for a dense copy of `region`."""
        local = local_copy(region, role, self._next_buffer(), 0)
        self._take(local.end_bytes)
        return local

    def _next_buffer(self) -> str:
        return f"buffer {len(self.recipe.buffers)}"

    def _take(self, size_bytes: int) -> None:
        self._made.add(self._next_buffer())
        self.recipe.buffers.append(size_bytes)

    def _add(self, number: int, engine: str, reads: tuple[Region, ...], write: Region, attributes: Attributes) -> None:
        self.recipe.commands.append((number, Command(engine, "", reads, (write,), attributes)))
