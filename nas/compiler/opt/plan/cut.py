"""How an operator is cut: tiles whose off-chip parts fit into the bytes that are free, in the size and order done first.

Weights stay while the rows of a map pass (`rows_inside`), or a stretch of the map stays while the weights pass: what stays
is loaded once, what passes once for each that stays, but for the one at the turn, since the inner loop goes to and fro.
Where there is room for two generations of all, or of what passes, the next is loaded while the last is worked on.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nas.compiler.opt.engines.share import Pace, engine_cycles, shared_cycles
from nas.compiler.opt.engines.spread import constant_copy
from nas.compiler.opt.layout.flat import flat
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.opt.plan.tile import largest_tiles, tile_bytes, tile_parts, transfer_bytes
from nas.compiler.tiling import Tile, part_of, roles, tiles_of
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv, Eltwise, Pool
from nas.timing.cycles import dma_latency_cycles, transfer_cycles

# The constants of one tile of a layer that lives on chip take at most this part of it, so that those of the next can be
# loaded beside them: the smaller one, which leaves fewer gaps, where its transfers are not small and filling the array for
# every tile costs no more than this share of its time.
_CHUNKS = (16, 8)
_FILL = 1 / 32
# Among tilings that are done about as soon, the one with less work and fewer transfers leaves more to others.
_EFFORT = 0.05
# Tiles that end within a row have to save this share of the time: more of them fill the room to the last byte, so that less of what
# comes next finds any.
_WORTH = 0.05


@dataclass(frozen=True)
class Tiling:
    """Tiles of `rows` x `channels`; rows_inside: all rows (of all images) before the next channels, else the other way."""

    operands: Operands
    rows: int
    channels: int
    rows_inside: bool = True

    def steps(self) -> Iterator[tuple[int, Tile]]:
        """(image, tile) in the order of work."""
        reads, write = self.operands.images[0]
        tiles = tiles_of(self.operands.function, reads, write, self.rows, self.channels)
        by_channels = list(dict.fromkeys(tile.channels for tile in tiles))
        images = range(len(self.operands.images))
        by_rows = [(image, rows) for image in images for rows in dict.fromkeys(tile.rows for tile in tiles)]
        if self.rows_inside:
            for turn, channels in enumerate(by_channels):
                yield from ((image, Tile(rows, channels)) for image, rows in by_rows[:: -1 if turn % 2 else 1])
        else:
            for turn, (image, rows) in enumerate(by_rows):
                yield from ((image, Tile(rows, channels)) for channels in by_channels[:: -1 if turn % 2 else 1])


def choose_tiling(
    operands: Operands, on_chip: frozenset[str], free_bytes: int, pace: Pace | None, processor: Processor
) -> Tiling:
    """The tiling done first by estimate; that of the smallest tiles where none fits. pace: None for one engine only."""
    rows, channels = operands.size
    if operands.streams(on_chip) or tile_bytes(operands, rows, channels, on_chip) > free_bytes:
        return _best(operands, on_chip, free_bytes, pace, processor)[0]
    return Tiling(operands, rows, _in_chunks(operands, channels, processor))


def streamed_cycles(
    operands: Operands, processor: Processor, on_chip: frozenset[str] = frozenset(), held_bytes: int = 0
) -> float:
    """By estimate, with all maps in dram but those `on_chip`, and all of the sram for tiles but what these hold."""
    return _best(operands, on_chip, processor.sram.size_bytes - held_bytes, Pace(), processor)[1]


def _best(
    operands: Operands, on_chip: frozenset[str], free_bytes: int, pace: Pace | None, processor: Processor
) -> tuple[Tiling, float]:
    """The tiling done first, and its cycles: in rows, or in any number of places where that is worth it."""
    in_rows = _Choice(operands, on_chip, free_bytes, pace, processor).best()
    in_places = flat(operands)
    if in_places is operands:
        return in_rows
    found = _Choice(in_places, on_chip, free_bytes, pace, processor).best()
    return found if found[1] < (1 - _WORTH) * in_rows[1] else in_rows


def _in_chunks(operands: Operands, channels: int, processor: Processor) -> int:
    """Fewer channels, in whole widths of the array, where their constants take too much of the chip to come early."""
    columns, step = processor.matrix.columns, operands.channel_step
    if columns % step:
        return channels
    reads, _ = operands.images[0]
    constant_bytes = sum(
        constant_copy(region, role, operands.spread, "", 0)[1]
        for role, region in zip(roles(operands.function), reads, strict=True)
        if region.memory in operands.constants
    )
    sram_bytes = processor.sram.size_bytes
    few, many = (
        max(columns, size_bytes * channels // max(constant_bytes, 1) // columns * columns)
        for size_bytes in (max(sram_bytes // _CHUNKS[0], 2 * transfer_bytes(processor)), sram_bytes // _CHUNKS[1])
    )
    if few < min(many, channels):
        part = part_of(operands.function, *operands.images[0], Tile((0, operands.size[0]), (0, few)))
        cycles = engine_cycles(part, operands.array, processor)
        if processor.issue_cycles + processor.matrix.rows > _FILL * cycles:
            few = many
    return min(channels, few)


class _Choice:
    """One operator, and the tilings that are tried on it."""

    def __init__(
        self, operands: Operands, on_chip: frozenset[str], free_bytes: int, pace: Pace | None, processor: Processor
    ) -> None:
        self.operands, self.on_chip = operands, on_chip
        self.free_bytes, self.pace, self.processor = free_bytes, pace, processor
        self.latency_cycles = dma_latency_cycles(processor)
        function = operands.function
        self.cuts_data = isinstance(function, Eltwise | Pool) or (isinstance(function, Conv) and function.groups > 1)
        self.parts: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.cycles: dict[tuple[int, int], int] = {}

    def best(self) -> tuple[Tiling, float]:
        """The tiling done first, and its cycles."""
        best = Tiling(self.operands, 1, min(self.operands.channel_step, self.operands.size[1]))
        best_cycles = float("inf")
        for channels in self._channels():
            for rows_inside in (True, False):
                for rows in self._rows(channels, rows_inside):
                    cycles = self._estimate(rows, channels, rows_inside)
                    if cycles < best_cycles:
                        best, best_cycles = Tiling(self.operands, rows, channels, rows_inside), cycles
        return best, best_cycles

    def _channels(self) -> list[int]:
        """All channels, then fewer and fewer in multiples of the step, and of the array's width where that is wider."""
        count, step, columns = self.operands.size[1], self.operands.channel_step, self.processor.matrix.columns
        grid = columns if columns % step == 0 and columns < count else step
        sizes = []
        pieces = 1
        while pieces < 2 * ceil_div(count, grid):
            sizes.append(min(count, ceil_div(ceil_div(count, pieces), grid) * grid))
            pieces += max(1, pieces // 2)
        while sizes[-1] > step and not self._fit_twice(1, sizes[-1]):
            sizes.append(max(step, sizes[-1] // 2 // step * step))
        return list(dict.fromkeys(sizes))

    def _fit_twice(self, rows: int, channels: int) -> bool:
        return 2 * sum(self._sizes(rows, channels)) <= self.free_bytes

    def _rows(self, channels: int, rows_inside: bool) -> list[int]:
        """The tallest tiles that fit: two generations of all, two of what passes, one; and fewer, to overlap transfers."""
        row_count = self.operands.size[0]
        found = []
        for kind in range(3):
            low, high = 1, row_count + 1  # the fewest tiles
            while low < high:
                middle = (low + high) // 2
                if self._need(ceil_div(row_count, middle), channels, rows_inside)[kind] <= self.free_bytes:
                    high = middle
                else:
                    low = middle + 1
            if low <= row_count:
                found += [
                    ceil_div(row_count, pieces)
                    for pieces in (low, max(low, 4), max(low, 8), max(low, 16))
                    if pieces <= row_count
                ]
        return list(dict.fromkeys(found))

    def _sizes(self, rows: int, channels: int) -> tuple[int, int, int]:
        if (rows, channels) not in self.parts:
            tiles = largest_tiles(self.operands, rows, channels)
            self.parts[rows, channels] = tile_parts(self.operands, tiles[-1], self.on_chip)
        return self.parts[rows, channels]

    def _need(self, rows: int, channels: int, rows_inside: bool) -> tuple[int, int, int]:
        """The bytes of two generations of all, of two of what passes, and of one."""
        constants, maps, written = self._sizes(rows, channels)
        one = constants + maps + written
        passing = maps + written if rows_inside else constants + written
        return 2 * one, one + passing, one

    def _estimate(self, rows: int, channels: int, rows_inside: bool) -> float:
        """Cycles of the whole operator in tiles of this size and order, as if nothing else ran."""
        operands, processor = self.operands, self.processor
        constants, maps, written = self._sizes(rows, channels)
        row_tiles = ceil_div(operands.size[0], rows) * len(operands.images)
        channel_tiles = ceil_div(operands.size[1], channels)
        tiles = row_tiles * channel_tiles
        if rows_inside:
            # At the turn the same rows serve two ranges of channels.
            maps_times = tiles if self.cuts_data else tiles - (channel_tiles - 1)
            constants_times = channel_tiles
        else:
            maps_times = tiles if self.cuts_data else row_tiles
            constants_times = tiles - (row_tiles - 1)
        if not maps_times or (row_tiles == 1 and not self.cuts_data):
            maps_times = 1
        if channel_tiles == 1:
            constants_times = 1
        if (rows, channels) not in self.cycles:
            self.cycles[rows, channels] = self._work_cycles(rows, channels)
        work_cycles = self.cycles[rows, channels] * tiles
        load = self._moved(
            constants * constants_times + maps * maps_times, constants_times * (constants > 0) + maps_times * (maps > 0)
        )
        store = self._moved(written * tiles, tiles * (written > 0))
        bus_cycles = transfer_cycles(constants * constants_times + maps * maps_times + written * tiles, processor)
        moved_cycles = max(load, store, bus_cycles)
        two, passing, _ = self._need(rows, channels, rows_inside)
        if passing > self.free_bytes:
            return (1 + _EFFORT) * (work_cycles + moved_cycles)
        # What nothing overlaps with: the first load, the last store, and of the shorter of work and transfers one tile.
        alone_cycles = self._moved(maps, maps > 0) + self._moved(written, written > 0)
        alone_cycles += min(work_cycles, moved_cycles) // tiles
        if two > self.free_bytes:
            stays, turns = (constants, channel_tiles) if rows_inside else (maps, row_tiles)
            alone_cycles += (turns - 1) * self._moved(stays, stays > 0)
        return max(work_cycles, moved_cycles) + alone_cycles + _EFFORT * (work_cycles + moved_cycles)

    def _work_cycles(self, rows: int, channels: int) -> int:
        reads, write = self.operands.images[0]
        tile = largest_tiles(self.operands, rows, channels)[-1]
        part = part_of(self.operands.function, reads, write, tile)
        return shared_cycles(part, self.pace, self.operands.array, self.processor)

    def _moved(self, size_bytes: int, transfers: int) -> int:
        return transfer_cycles(size_bytes, self.processor) + transfers * self.latency_cycles
