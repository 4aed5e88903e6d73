"""How an operator is cut: the fewest tiles whose off-chip parts fit into the bytes that are free.

Only what does not live on chip takes room for a tile: weights and tables always, maps where they lie in dram. If there is
more than one tile, two generations of tiles have to fit, so that one is loaded while the other is worked on.
"""

from dataclasses import dataclass

from nas.compiler.network import Network
from nas.compiler.opt.storage import Storage
from nas.compiler.regions import aligned, place
from nas.compiler.tiling import (
    Compute,
    Tile,
    channel_step,
    image_operands,
    local_copy,
    output_size,
    part_of,
    roles,
    tiles_of,
)
from nas.core.units import ceil_div
from nas.ir.command import Conv, Eltwise, Host, Matmul, Pool
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Region

_COMFORTABLE_ROWS = 4


@dataclass(frozen=True)
class Operands:
    """An operator with the regions of its operands, one set per image (or one for all the rows of a matrix)."""

    layer: str
    function: Compute
    images: tuple[tuple[tuple[Region, ...], Region], ...]

    @property
    def size(self) -> tuple[int, int]:
        """(rows, channels) of the output."""
        return output_size(self.function, *self.images[0])

    @property
    def channel_step(self) -> int:
        return channel_step(self.function, *self.images[0])


def operands_of(operator: Operator, network: Network, storage: Storage) -> Operands | None:
    """None for operators that have no tiles: views, concats and host operators."""
    function = operator.function
    if isinstance(function, View | Concat | Host):
        return None
    assert isinstance(function, Conv | Matmul | Eltwise | Pool)
    reads = [
        storage.regions[name] if name in storage.regions else place(network.tensors[name], name, 0)
        for name in operator.inputs
    ]
    write = storage.regions[operator.outputs[0]]
    return Operands(operator.layer, function, tuple(image_operands(operator, network.tensors, reads, write)))


def smallest_bytes(operands: Operands, on_chip: frozenset[str]) -> int:
    """The off-chip parts of the smallest tile."""
    return tile_bytes(operands, 1, min(operands.channel_step, operands.size[1]), on_chip)


def comfortable_bytes(operands: Operands, on_chip: frozenset[str], columns: int) -> int:
    """The off-chip parts of all the operator in one tile, or of two tiles as wide as the array: enough to work well."""
    rows, channels = operands.size
    step = operands.channel_step
    wide = min(channels, max(step, columns // step * step))
    whole_bytes = tile_bytes(operands, rows, channels, on_chip)
    return min(whole_bytes, 2 * tile_bytes(operands, min(rows, _COMFORTABLE_ROWS), wide, on_chip))


def tile_bytes(operands: Operands, rows: int, channels: int, on_chip: frozenset[str]) -> int:
    """The room that the off-chip parts of the largest tile of this size take in sram."""
    reads, write = operands.images[0]
    row_count, channel_count = operands.size
    tiles = [Tile((0, min(rows, row_count)), (0, min(channels, channel_count)))]
    if rows < row_count:  # a tile in the middle has no padding, and so more to read
        tiles.append(Tile((rows, min(2 * rows, row_count)), tiles[0].channels))
    return max(_part_bytes(operands.function, reads, write, tile, on_chip) for tile in tiles)


def _part_bytes(
    function: Compute, reads: tuple[Region, ...], write: Region, tile: Tile, on_chip: frozenset[str]
) -> int:
    part = part_of(function, reads, write, tile)
    total = 0
    for region, role in zip((*part.reads, part.write), (*roles(function), "output"), strict=True):
        if region.memory not in on_chip:
            total += aligned(local_copy(region, role, "sram", 0).end_bytes)
    return total


def choose_tiles(operands: Operands, on_chip: frozenset[str], free_bytes: int, pieces: int) -> list[Tile]:
    """Tiles in the order of work.

    pieces: into how many a dram-bound operator is cut at least, so that transfer and work overlap.
    """
    rows, channels = operands.size
    reads, write = operands.images[0]
    names = zip((*reads, write), (*roles(operands.function), "output"), strict=True)
    streams = any(role in ("data", "addend", "output") and region.memory not in on_chip for region, role in names)
    if streams:
        rows = max(1, ceil_div(rows, pieces))
    whole = (rows, channels) == operands.size and len(operands.images) == 1
    need_bytes = tile_bytes(operands, rows, channels, on_chip)
    if need_bytes > (free_bytes if whole else free_bytes // 2):
        rows, channels = _cut(operands, on_chip, free_bytes, (rows, channels))
    return tiles_of(operands.function, reads, write, rows, channels)


def _cut(operands: Operands, on_chip: frozenset[str], free_bytes: int, start: tuple[int, int]) -> tuple[int, int]:
    """The (rows, channels) of a tile that fits twice and moves the fewest bytes; the smallest, if none fits twice."""
    step = operands.channel_step
    best, best_moved = (1, min(step, operands.size[1])), -1.0
    channels = start[1]
    while True:
        rows = start[0]
        while True:
            if tile_bytes(operands, rows, channels, on_chip) <= free_bytes // 2:
                moved = _moved_bytes(operands, on_chip, rows, channels)
                if best_moved < 0 or moved < best_moved:
                    best, best_moved = (rows, channels), moved
                break  # fewer rows of the same channels only add commands and halo
            if rows == 1:
                break
            rows = ceil_div(rows, 2)
        if channels <= step:
            return best
        channels = max(step, ceil_div(ceil_div(channels, 2), step) * step)


def _moved_bytes(operands: Operands, on_chip: frozenset[str], rows: int, channels: int) -> float:
    """Bytes that all tiles load and store: maps once per range of channels (their own, where channels stay apart)."""
    reads, write = operands.images[0]
    tile = part_of(operands.function, reads, write, Tile((0, rows), (0, channels)))
    row_tiles, channel_tiles = ceil_div(operands.size[0], rows), ceil_div(operands.size[1], channels)
    total = 0.0
    for region, role in zip((*tile.reads, tile.write), (*roles(operands.function), "output"), strict=True):
        if region.memory not in on_chip:
            total += region.payload_bytes * channel_tiles * (1 if role in ("weight", "table") else row_tiles)
    return total
