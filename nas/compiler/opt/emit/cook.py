"""What the ways to do operators have in common as they write a recipe: buffers, loads, the work itself and stores."""

import math
from dataclasses import dataclass, field

from nas.compiler.opt.emit.constants import locals_of, stretch_bytes
from nas.compiler.opt.engines.share import Array, Pace, parts_on_engines
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.tiling import Part, engine_of, local_copy, roles, rows_and_channels
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


class Held(dict[tuple[str, Region], Region]):
    """Local copies that the next tiles may use again: the latest of each kind of operand."""

    def keep(self, role: str, source: Region, local: Region) -> None:
        for key in [key for key in self if key[0] == role]:
            del self[key]
        self[role, source] = local


class Cook:
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

    def store(
        self, number: int, there: Region, write: Region, rows: tuple[int, int], channels: tuple[int, int]
    ) -> None:
        """A part of a map, if there are any rows of it, from where it is on chip to where the map lies in dram."""
        if rows[0] < rows[1]:
            source, target = (rows_and_channels(each, rows, channels) for each in (there, write))
            self._add(number, "dma_out", (source,), target, Store())

    def part(self, write: Region, rows: tuple[int, int], channels: tuple[int, int]) -> Region:
        """The region of a whole map of which only `rows` and `channels` exist, in a new buffer."""
        count = channels[1] - channels[0]
        outer = write.shape[:-2] if count == math.prod(write.shape[:-2]) else (count,)
        shape = (*outer, rows[1] - rows[0], write.shape[-1])
        local = dense(self._next_buffer(), 0, shape, write.bits)
        self._take(local.end_bytes)
        return seen_whole(local, write, rows[0], channels[0])

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

    def local_reads(self, number: int, part: Part, constants: dict[Region, Region], held: Held) -> tuple[Region, ...]:
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


def seen_whole(copy: Region, whole: Region, row: int, channel: int = 0) -> Region:
    """The region of a whole map of which only a part exists, in `copy`, whose first place is in this row and channel."""
    before = row * copy.strides[-2] + channel * copy.strides[-3]
    return Region(copy.memory, copy.offset_bytes - before * copy.bits // 8, whole.shape, copy.strides, copy.bits)
