"""Planned operators -> commands on buffers. Addresses come later: a region's memory is "dram" or the name of a buffer.

A tile's off-chip parts get buffers of their own, loaded once for all tiles in a row that share them. What an operator
reads of constants comes as one stretch for each range of channels.
"""

from dataclasses import dataclass, field

from nas.compiler.network import Network
from nas.compiler.opt.constants import ConstantPool, locals_of
from nas.compiler.opt.residency import Residency
from nas.compiler.opt.storage import Storage
from nas.compiler.opt.stripes import Group, row_ranges
from nas.compiler.opt.tile import Operands, choose_tiles, operands_of
from nas.compiler.regions import image_of, place
from nas.compiler.tiling import Compute, Part, Tile, engine_of, local_copy, part_of, roles
from nas.hw.spec import Processor
from nas.ir.command import Attributes, Command, Copy, Host, Load, Store
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Region, dense


@dataclass(frozen=True)
class Plan:
    """What was decided: regions, what lives on chip, chains done in stripes, and the addresses of buffers in dram."""

    network: Network
    storage: Storage
    residency: Residency
    groups: dict[int, Group]
    dram_places: dict[str, int]
    processor: Processor


@dataclass
class Emitted:
    """commands on "dram" and on named buffers; buffer_bytes: the size of each buffer that is to get an address in sram."""

    commands: list[Command] = field(default_factory=list)
    buffer_bytes: dict[str, int] = field(default_factory=dict)


def emit(plan: Plan, pool: ConstantPool) -> Emitted:
    """Commands for all operators in their order; constants go into `pool` as they are needed."""
    emitter = _Emitter(plan, pool)
    index = 0
    while index < len(plan.network.operators):
        group = plan.groups.get(index)
        if group is not None:
            emitter.group(group)
            index = group.last + 1
        else:
            emitter.operator(index, plan.network.operators[index])
            index += 1
    return emitter.emitted


class _Held(dict[tuple[str, Region], Region]):
    """Local copies that the next tiles may use again: the latest of each kind of operand."""

    def keep(self, role: str, source: Region, local: Region) -> None:
        for key in [key for key in self if key[0] == role]:
            del self[key]
        self[role, source] = local


class _Emitter:
    def __init__(self, plan: Plan, pool: ConstantPool) -> None:
        self.plan, self.pool = plan, pool
        self.on_chip = plan.residency.on_chip
        self.emitted = Emitted()
        for name in self.on_chip:
            self.emitted.buffer_bytes[name] = plan.storage.buffers[name].size_bytes
        self.buffers_made = 0

    def operator(self, index: int, operator: Operator) -> None:
        function = operator.function
        if isinstance(function, View | Concat):
            for source, target in self.plan.storage.moves.get(index, []):
                for image in range(target.shape[0]):
                    self._move(operator.layer, image_of(source, image), image_of(target, image))
        elif isinstance(function, Host):
            reads = tuple(self._whole(name) for name in operator.inputs)
            writes = tuple(self._whole(name) for name in operator.outputs)
            self._add("host", operator.layer, reads, writes, function)
        else:
            operands = operands_of(operator, self.plan.network, self.plan.storage)
            assert operands is not None
            self._tiled(operands, self.plan.residency.free_bytes[index])

    def _tiled(self, operands: Operands, free_bytes: int) -> None:
        tiles = choose_tiles(operands, self.on_chip, free_bytes, self.plan.processor)
        held = _Held()
        for channels in dict.fromkeys(tile.channels for tile in tiles):
            constants: dict[Region, Region] | None = None
            for reads, write in operands.images:
                for tile in (tile for tile in tiles if tile.channels == channels):
                    part = part_of(operands.function, reads, write, tile)
                    constants = self._constants_for(operands, part, constants)
                    local = self._local_reads(operands.layer, part, constants, held)
                    self._finish(operands.layer, part.function, local, part.write)

    def group(self, group: Group) -> None:
        """A chain of operators, stripe by stripe; their constants stay for the whole of it."""
        network, storage = self.plan.network, self.plan.storage
        chain = [
            operands_of(operator, network, storage) for operator in network.operators[group.first : group.last + 1]
        ]
        members = [member for member in chain if member is not None]
        constants: list[dict[Region, Region] | None] = [None] * len(members)
        for image in range(len(members[0].images)):
            row_count = members[-1].size[0]
            for row in range(0, row_count, group.rows):
                ranges = row_ranges(members, (row, min(row + group.rows, row_count)))
                previous: Region | None = None
                for place_, (member, rows) in enumerate(zip(members, ranges, strict=True)):
                    reads, write = member.images[image]
                    if previous is not None:
                        reads = (previous, *reads[1:])
                    if place_ < len(members) - 1:
                        write = previous = self._stripe(write, rows)
                    part = part_of(member.function, reads, write, Tile(rows, (0, member.size[1])))
                    held = constants[place_] = self._constants_for(member, part, constants[place_])
                    local = self._local_reads(member.layer, part, held, _Held())
                    self._finish(member.layer, part.function, local, part.write)

    def _stripe(self, write: Region, rows: tuple[int, int]) -> Region:
        """The region of a whole map of which only `rows` exist, in a new buffer."""
        shape = (*write.shape[:-2], rows[1] - rows[0], write.shape[-1])
        local = dense(self._buffer(), 0, shape, write.bits)
        self.emitted.buffer_bytes[local.memory] = local.end_bytes
        row_bytes = local.strides[-2] * local.bits // 8
        return Region(local.memory, -rows[0] * row_bytes, write.shape, local.strides, write.bits)

    def _constants_for(self, operands: Operands, part: Part, held: dict[Region, Region] | None) -> dict[Region, Region]:
        """The constants that are on chip, if they serve this part too: only those that are maps are cut along rows."""
        if held is not None and all(region in held for region in part.reads if region.memory in operands.constants):
            return held
        return self._constants(operands, part)

    def _constants(self, operands: Operands, part: Part) -> dict[Region, Region]:
        """One load for all the constants of a part: where each of them is on chip."""
        wanted = [
            (region, role)
            for region, role in zip(part.reads, roles(part.function), strict=True)
            if region.memory in operands.constants
        ]
        if not wanted:
            return {}
        stretch = self.pool.pack(operands.layer, wanted)
        buffer = self._buffer()
        self.emitted.buffer_bytes[buffer] = stretch.payload_bytes
        target = Region(buffer, 0, stretch.shape, stretch.strides, 8)
        self._add("dma_in", operands.layer, (stretch,), (target,), Load())
        return dict(zip((region for region, _ in wanted), locals_of(wanted, buffer), strict=True))

    def _local_reads(self, layer: str, part: Part, constants: dict[Region, Region], held: _Held) -> tuple[Region, ...]:
        """The operands of a part on chip: constants, what lives there, and copies of what lies in dram."""
        local = []
        for role, region in zip(roles(part.function), part.reads, strict=True):
            if region in constants:
                local.append(constants[region])
            elif region.memory in self.emitted.buffer_bytes:
                local.append(region)
            else:
                local.append(self._loaded(layer, role, region, held))
        return tuple(local)

    def _loaded(self, layer: str, role: str, source: Region, held: _Held) -> Region:
        placed = self._placed(source)
        if (role, placed) not in held:
            local = self._copy_of(source, role)
            self._add("dma_in", layer, (placed,), (local,), Load())
            held.keep(role, placed, local)
        return held[role, placed]

    def _finish(self, layer: str, function: Compute, reads: tuple[Region, ...], write: Region) -> None:
        """The command itself, and the way of its result to dram where it has to lie there."""
        if write.memory in self.emitted.buffer_bytes:
            self._add(engine_of(function), layer, reads, (write,), function)
            return
        local = self._copy_of(write, "output")
        self._add(engine_of(function), layer, reads, (local,), function)
        self._add("dma_out", layer, (local,), (self._placed(write),), Store())

    def _move(self, layer: str, source: Region, target: Region) -> None:
        if source.memory in self.on_chip and target.memory in self.on_chip:
            self._add("vector", layer, (source,), (target,), Copy())
        elif target.memory in self.on_chip:
            self._add("dma_in", layer, (self._placed(source),), (target,), Load())
        elif source.memory in self.on_chip:
            self._add("dma_out", layer, (source,), (self._placed(target),), Store())
        else:
            local = self._copy_of(source, "data")
            self._add("dma_in", layer, (self._placed(source),), (local,), Load())
            self._add("dma_out", layer, (local,), (self._placed(target),), Store())

    def _copy_of(self, region: Region, role: str) -> Region:
        """A new buffer for a dense copy of `region`."""
        local = local_copy(region, role, self._buffer(), 0)
        self.emitted.buffer_bytes[local.memory] = local.end_bytes
        return local

    def _buffer(self) -> str:
        self.buffers_made += 1
        return f"buffer {self.buffers_made}"

    def _whole(self, name: str) -> Region:
        if name in self.plan.storage.regions:
            return self._placed(self.plan.storage.regions[name])
        return self.pool.whole(place(self.plan.network.tensors[name], name, 0))

    def _placed(self, region: Region) -> Region:
        """A region of a buffer that lies in dram, with its address."""
        base = self.plan.dram_places[region.memory]
        return Region("dram", base + region.offset_bytes, region.shape, region.strides, region.bits)

    def _add(
        self, engine: str, layer: str, reads: tuple[Region, ...], writes: tuple[Region, ...], attributes: Attributes
    ) -> None:
        self.emitted.commands.append(Command(engine, layer, reads, writes, attributes))
