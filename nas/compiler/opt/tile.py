"""How an operator is cut: the fewest tiles whose off-chip parts fit into the bytes that are free.

Only what does not live on chip takes room for a tile: weights and tables always, maps where they lie in dram. If there is
more than one tile, two generations of tiles have to fit, so that one is loaded while the other is worked on.
"""

from dataclasses import dataclass

from nas.compiler.network import Network
from nas.compiler.opt.storage import Storage
from nas.compiler.regions import ROWS_RANK, aligned, place
from nas.compiler.tiling import Compute, Tile, channel_step, image_operands, local_copy, part_of, roles
from nas.core.units import ceil_div
from nas.ir.command import Conv, Eltwise, Host, Matmul, Pool
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Region


@dataclass(frozen=True)
class Operands:
    """An operator with the regions of its operands, one set per image (or one for all the rows of a matrix)."""

    layer: str
    function: Compute
    images: tuple[tuple[tuple[Region, ...], Region], ...]

    @property
    def row_count(self) -> int:
        write = self.images[0][1]
        return 1 if len(write.shape) == ROWS_RANK else write.shape[-2]

    @property
    def channel_count(self) -> int:
        write = self.images[0][1]
        if len(write.shape) == ROWS_RANK:
            return write.shape[1]
        return self.images[0][0][1].shape[0] if isinstance(self.function, Conv) else write.shape[0]


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
    reads, write = operands.images[0]
    step = channel_step(operands.function, reads, write)
    return tile_bytes(operands, Tile((0, 1), (0, min(step, operands.channel_count))), on_chip)


def tile_bytes(operands: Operands, tile: Tile, on_chip: frozenset[str]) -> int:
    """The room that one tile's off-chip parts take in sram."""
    reads, write = operands.images[0]
    part = part_of(operands.function, reads, write, tile)
    total = 0
    for region, role in zip((*part.reads, part.write), (*roles(operands.function), "output"), strict=True):
        if region.memory not in on_chip:
            total += aligned(local_copy(region, role, "sram", 0).end_bytes)
    return total


def choose_tiles(operands: Operands, on_chip: frozenset[str], free_bytes: int, pieces: int) -> list[Tile]:
    """Tiles in the order of work: channels outside, rows inside, so that weights are loaded once.

    pieces: into how many a dram-bound operator is cut at least, so that transfer and work overlap.
    """
    rows, channels = operands.row_count, operands.channel_count
    reads, write = operands.images[0]
    step = channel_step(operands.function, reads, write)
    names = zip((*reads, write), (*roles(operands.function), "output"), strict=True)
    streams = any(role in ("data", "addend", "output") and region.memory not in on_chip for region, role in names)
    if streams:
        rows = max(1, ceil_div(rows, pieces))
    whole = (rows, channels) == (operands.row_count, operands.channel_count) and len(operands.images) == 1
    need_bytes = tile_bytes(operands, Tile((0, rows), (0, channels)), on_chip)
    if need_bytes > (free_bytes if whole else free_bytes // 2):
        rows, channels = _cut(operands, on_chip, free_bytes, (rows, channels), step)
    return [
        Tile((row, min(row + rows, operands.row_count)), (channel, min(channel + channels, operands.channel_count)))
        for channel in range(0, operands.channel_count, channels)
        for row in range(0, operands.row_count, rows)
    ]


def _cut(
    operands: Operands, on_chip: frozenset[str], free_bytes: int, start: tuple[int, int], step: int
) -> tuple[int, int]:
    """The (rows, channels) of a tile that fits twice and moves the fewest bytes; fits once, if none fits twice."""
    best, best_moved = (1, min(step, operands.channel_count)), -1.0
    channels = start[1]
    while True:
        rows = start[0]
        while True:
            need_bytes = tile_bytes(operands, Tile((0, rows), (0, channels)), on_chip)
            if need_bytes <= free_bytes // 2:
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
    row_tiles, channel_tiles = ceil_div(operands.row_count, rows), ceil_div(operands.channel_count, channels)
    total = 0.0
    for region, role in zip((*tile.reads, tile.write), (*roles(operands.function), "output"), strict=True):
        if region.memory not in on_chip:
            total += region.payload_bytes * channel_tiles * (1 if role in ("weight", "table") else row_tiles)
    return total
