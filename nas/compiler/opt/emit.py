"""Planned operators -> commands on buffers. Addresses come later: a region's memory is "dram" or the name of a buffer.

A tile's off-chip parts get buffers of their own, loaded once for all tiles in a row that share them.
"""

from dataclasses import dataclass, field

from nas.compiler.network import Network
from nas.compiler.opt.residency import Residency
from nas.compiler.opt.storage import Storage
from nas.compiler.opt.tile import Operands, choose_tiles, operands_of
from nas.compiler.regions import image_of, place
from nas.compiler.tiling import Compute, engine_of, local_copy, part_of, roles
from nas.ir.command import Attributes, Command, Copy, Host, Load, Store
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Region


@dataclass
class Emitted:
    """commands on "dram" and on named buffers; buffer_bytes: the size of each buffer that is to get an address in sram."""

    commands: list[Command] = field(default_factory=list)
    buffer_bytes: dict[str, int] = field(default_factory=dict)


def emit(network: Network, storage: Storage, residency: Residency, dram_places: dict[str, int], pieces: int) -> Emitted:
    """Commands for all operators in their order. dram_places: addresses of constants and of buffers that lie in dram."""
    emitter = _Emitter(network, storage, residency, dram_places, pieces)
    for index, operator in enumerate(network.operators):
        emitter.operator(index, operator)
    return emitter.emitted


class _Emitter:
    def __init__(
        self,
        network: Network,
        storage: Storage,
        residency: Residency,
        dram_places: dict[str, int],
        pieces: int,
    ) -> None:
        self.network, self.storage, self.residency = network, storage, residency
        self.dram_places, self.pieces = dram_places, pieces
        self.emitted = Emitted()
        for name in residency.on_chip:
            self.emitted.buffer_bytes[name] = storage.buffers[name].size_bytes
        self.tiles_made = 0

    def operator(self, index: int, operator: Operator) -> None:
        function = operator.function
        if isinstance(function, View | Concat):
            for source, target in self.storage.moves.get(index, []):
                for image in range(target.shape[0]):
                    self._move(operator.layer, image_of(source, image), image_of(target, image))
        elif isinstance(function, Host):
            reads = tuple(self._whole(name) for name in operator.inputs)
            writes = tuple(self._whole(name) for name in operator.outputs)
            self._add("host", operator.layer, reads, writes, function)
        else:
            operands = operands_of(operator, self.network, self.storage)
            assert operands is not None
            self._compute(index, operands)

    def _compute(self, index: int, operands: Operands) -> None:
        on_chip, free_bytes = self.residency.on_chip, self.residency.free_bytes[index]
        held: dict[tuple[str, Region], Region] = {}
        tiles = choose_tiles(operands, on_chip, free_bytes, self.pieces)
        for channels in dict.fromkeys(tile.channels for tile in tiles):
            held = {key: local for key, local in held.items() if key[0] == "data"}
            for reads, write in operands.images:
                for tile in (tile for tile in tiles if tile.channels == channels):
                    part = part_of(operands.function, reads, write, tile)
                    local_reads = tuple(
                        self._loaded(operands.layer, role, region, held)
                        for role, region in zip(roles(operands.function), part.reads, strict=True)
                    )
                    self._finish(operands.layer, part.function, local_reads, part.write)

    def _finish(self, layer: str, function: Compute, reads: tuple[Region, ...], write: Region) -> None:
        """The command itself, and the way of its result to dram where it has to lie there."""
        if write.memory in self.residency.on_chip:
            self._add(engine_of(function), layer, reads, (write,), function)
            return
        local = self._tile(write, "output")
        self._add(engine_of(function), layer, reads, (local,), function)
        self._add("dma_out", layer, (local,), (self._placed(write),), Store())

    def _loaded(self, layer: str, role: str, source: Region, held: dict[tuple[str, Region], Region]) -> Region:
        """The part on chip: where it lives, or a copy, which the next tiles use again."""
        if source.memory in self.residency.on_chip:
            return source
        placed = self._placed(source)
        if (role, placed) in held:
            return held[role, placed]
        local = self._tile(source, role)
        self._add("dma_in", layer, (placed,), (local,), Load())
        for key in [key for key in held if key[0] == role]:
            del held[key]
        held[role, placed] = local
        return local

    def _move(self, layer: str, source: Region, target: Region) -> None:
        inside = self.residency.on_chip
        if source.memory in inside and target.memory in inside:
            self._add("vector", layer, (source,), (target,), Copy())
        elif target.memory in inside:
            self._add("dma_in", layer, (self._placed(source),), (target,), Load())
        elif source.memory in inside:
            self._add("dma_out", layer, (source,), (self._placed(target),), Store())
        else:
            local = self._tile(source, "data")
            self._add("dma_in", layer, (self._placed(source),), (local,), Load())
            self._add("dma_out", layer, (local,), (self._placed(target),), Store())

    def _tile(self, region: Region, role: str) -> Region:
        """A new buffer for a dense copy of `region`."""
        name = f"tile {self.tiles_made}"
        self.tiles_made += 1
        local = local_copy(region, role, name, 0)
        self.emitted.buffer_bytes[name] = local.end_bytes
        return local

    def _whole(self, name: str) -> Region:
        if name in self.storage.regions:
            return self._placed(self.storage.regions[name])
        return self._placed(place(self.network.tensors[name], name, 0))

    def _placed(self, region: Region) -> Region:
        """A region of a buffer that lies in dram, with its address."""
        base = self.dram_places[region.memory]
        return Region("dram", base + region.offset_bytes, region.shape, region.strides, region.bits)

    def _add(
        self, engine: str, layer: str, reads: tuple[Region, ...], writes: tuple[Region, ...], attributes: Attributes
    ) -> None:
        self.emitted.commands.append(Command(engine, layer, reads, writes, attributes))
