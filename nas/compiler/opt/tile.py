"""How an operator is cut: tiles whose off-chip parts fit into the bytes that are free, of the size that is done first.

Only what does not live on chip takes room for a tile: weights and tables always, maps where they lie in dram (on_chip holds
the slots of those that don't). Where two generations of tiles fit, one is loaded while the other is worked on, and the longer of the two counts; else their sum.
"""

from nas.compiler.opt.operands import Operands
from nas.compiler.regions import aligned
from nas.compiler.tiling import Compute, Tile, engine_of, local_copy, part_of, roles, tiles_of
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.tensor import Region
from nas.timing.cycles import command_cycles, dma_latency_cycles, transfer_cycles

# An operator that streams maps from or to dram is cut into at least so many tiles, so that transfer and work overlap.
_PIECES = 4
_COMFORTABLE_ROWS = 4
# The constants of one tile take at most this part of the chip, so that those of the next can be loaded beside them.
_CHUNKS = 8


def comfortable_bytes(operands: Operands, on_chip: frozenset[str], columns: int, rooms: tuple[int, int]) -> int:
    """What the operator needs to work well.

    rooms: what there is beside its own maps on chip, and what there would be without them. Within the first, room for
    all of it, or for two tiles as wide as the array; else one such tile, for which maps may have to go; narrower ones
    only where even an empty chip has no room for that.
    """
    rows, channels = operands.size
    step = operands.channel_step
    few_rows = min(rows, _COMFORTABLE_ROWS)
    wide = min(channels, max(step, columns // step * step))
    one = tile_bytes(operands, few_rows, wide, on_chip)
    roomy = min(tile_bytes(operands, rows, channels, on_chip), 2 * one)
    if roomy <= rooms[0]:
        return roomy
    while one > rooms[1] and (few_rows > 1 or wide > step):
        few_rows, wide = (1, wide) if few_rows > 1 else (1, max(step, wide // 2 // step * step))
        one = tile_bytes(operands, few_rows, wide, on_chip)
    return one


def tile_bytes(operands: Operands, rows: int, channels: int, on_chip: frozenset[str]) -> int:
    """The room that the off-chip parts of the largest tile of this size take in sram."""
    reads, write = operands.images[0]
    tiles = _largest_tiles(operands, rows, channels)
    return max(_part_bytes(operands.function, reads, write, tile, on_chip) for tile in tiles)


def _largest_tiles(operands: Operands, rows: int, channels: int) -> list[Tile]:
    """The first tile, and one from the middle, which has no padding and so more to read."""
    row_count, channel_count = operands.size
    tiles = [Tile((0, min(rows, row_count)), (0, min(channels, channel_count)))]
    if rows < row_count:
        tiles.append(Tile((rows, min(2 * rows, row_count)), tiles[0].channels))
    return tiles


def _part_bytes(
    function: Compute, reads: tuple[Region, ...], write: Region, tile: Tile, on_chip: frozenset[str]
) -> int:
    part = part_of(function, reads, write, tile)
    total = 0
    for region, role in zip((*part.reads, part.write), (*roles(function), "output"), strict=True):
        if region.memory not in on_chip:
            total += aligned(local_copy(region, role, "sram", 0).end_bytes)
    return total


def choose_tiles(operands: Operands, on_chip: frozenset[str], free_bytes: int, processor: Processor) -> list[Tile]:
    """Tiles in the order of work; at least the smallest, whether it fits or not."""
    row_count, channel_count = operands.size
    reads, write = operands.images[0]
    streams = operands.streams(on_chip)
    rows, channels = row_count, channel_count
    if streams or tile_bytes(operands, rows, channels, on_chip) > free_bytes:
        rows, channels = _best_size(operands, on_chip, free_bytes, processor)
    channels = _in_chunks(operands, channels, processor)
    return tiles_of(operands.function, reads, write, rows, channels)


def _in_chunks(operands: Operands, channels: int, processor: Processor) -> int:
    """Fewer channels, in whole widths of the array, where their constants take too much of the chip to come early."""
    columns, step = processor.matrix.columns, operands.channel_step
    if columns % step:
        return channels
    reads, _ = operands.images[0]
    constant_bytes = sum(region.payload_bytes for region in reads if region.memory in operands.constants)
    share_bytes = processor.sram.size_bytes // _CHUNKS
    most = share_bytes * operands.size[1] // max(constant_bytes, 1) // columns * columns
    return min(channels, max(columns, most))


def _best_size(operands: Operands, on_chip: frozenset[str], free_bytes: int, processor: Processor) -> tuple[int, int]:
    row_count, channel_count = operands.size
    step, columns = operands.channel_step, processor.matrix.columns
    best, best_cycles = (1, min(step, channel_count)), float("inf")
    first_rows = max(1, ceil_div(row_count, _PIECES)) if operands.streams(on_chip) else row_count
    for channels in _halvings(channel_count, step, columns):
        for rows in _halvings(first_rows, 1, 1):
            need_bytes = tile_bytes(operands, rows, channels, on_chip)
            if need_bytes > free_bytes:
                continue
            cycles = _estimate(operands, on_chip, (rows, channels), 2 * need_bytes <= free_bytes, processor)
            if cycles < best_cycles:
                best, best_cycles = (rows, channels), cycles
            if 2 * need_bytes <= free_bytes:
                break  # fewer rows of the same channels only add commands and halo
    return best


def _halvings(count: int, step: int, columns: int) -> list[int]:
    """count, then about half of it and so on down to `step`, in multiples of it, and of `columns` where wider."""
    sizes = [count]
    while sizes[-1] > step:
        half = ceil_div(sizes[-1], 2)
        grid = columns if half >= columns and columns % step == 0 else step
        half = max(step, ceil_div(half, grid) * grid)
        sizes.append(half if half < sizes[-1] else max(step, sizes[-1] - grid))
    return sizes


def _estimate(
    operands: Operands, on_chip: frozenset[str], size: tuple[int, int], doubled: bool, processor: Processor
) -> float:
    """Cycles of the whole operator in tiles of this size, as if nothing else ran."""
    reads, write = operands.images[0]
    tile = _largest_tiles(operands, *size)[-1]
    part = part_of(operands.function, reads, write, tile)
    row_tiles, channel_tiles = (ceil_div(count, length) for count, length in zip(operands.size, size, strict=True))
    command = Command(engine_of(part.function), "", part.reads, (part.write,), part.function)
    work_cycles = command_cycles(command, processor) * row_tiles * channel_tiles
    moved_bytes, transfers = 0, 0
    for region in (*part.reads, part.write):
        if region.memory not in on_chip:
            times = channel_tiles * (1 if region.memory in operands.constants else row_tiles)
            moved_bytes += region.payload_bytes * times
            transfers += times
    transfer = transfer_cycles(moved_bytes, processor) + transfers * dma_latency_cycles(processor)
    return max(work_cycles, transfer) if doubled else work_cycles + transfer
