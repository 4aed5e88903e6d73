"""What an operator needs beside its maps on chip: the room for its tiles, at best and at least.

Only what does not live on chip takes room for a tile: weights and tables always, maps where they lie in dram (on_chip holds
the slots of those that don't).
"""

from nas.compiler.opt.engines.spread import constant_copy
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.regions import aligned
from nas.compiler.tiling import Tile, local_copy, part_of, roles
from nas.hw.spec import Processor

_COMFORTABLE_ROWS = 4
# Transfers of constants are joined up to this size (a sixteenth of a small chip): latency is then a tenth or less.
_TRANSFER_BYTES = 8192


def transfer_bytes(processor: Processor) -> int:
    """The size up to which transfers are worth joining, for which there has to be room beside tiles."""
    return min(_TRANSFER_BYTES, processor.sram.size_bytes // 16)


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
    return max(sum(tile_parts(operands, tile, on_chip)) for tile in largest_tiles(operands, rows, channels))


def largest_tiles(operands: Operands, rows: int, channels: int) -> list[Tile]:
    """The first tile, and one from the middle if it is as tall, which has no padding and so more to read."""
    row_count, channel_count = operands.size
    tiles = [Tile((0, min(rows, row_count)), (0, min(channels, channel_count)))]
    if 2 * rows <= row_count:
        tiles.append(Tile((rows, 2 * rows), tiles[0].channels))
    return tiles


def tile_parts(operands: Operands, tile: Tile, on_chip: frozenset[str]) -> tuple[int, int, int]:
    """The bytes of a tile's off-chip parts: constants, maps that are read, the map that is written."""
    reads, write = operands.images[0]
    part = part_of(operands.function, reads, write, tile)
    constants = maps = 0
    for region, role in zip(part.reads, roles(part.function), strict=True):
        if region.memory not in on_chip:
            if region.memory in operands.constants:
                constants += constant_copy(region, role, operands.spread, "sram", 0)[1]
            else:
                maps += aligned(local_copy(region, role, "sram", 0).end_bytes)
    written = 0 if write.memory in on_chip else aligned(local_copy(part.write, "output", "sram", 0).end_bytes)
    return constants, maps, written
