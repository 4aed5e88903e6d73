"""Planned operators -> commands on buffers. Addresses come later: a region's memory is "dram" or the name of a buffer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas.compiler.memo import Memo
from nas.compiler.opt.emit.constants import ConstantPool
from nas.compiler.opt.emit.cook import Recipe
from nas.compiler.opt.emit.recipe import sliced, striped, tiled
from nas.compiler.opt.layout.operands import Home, Layout, Placed
from nas.compiler.opt.plan.pace import paces
from nas.compiler.opt.plan.residency import Residency
from nas.compiler.opt.plan.slices import Slices
from nas.compiler.opt.plan.stripes import Group
from nas.compiler.regions import aligned, image_of, place
from nas.compiler.tiling import local_copy
from nas.hw.spec import Processor
from nas.ir.command import Attributes, Command, Copy, Host, Load, Store
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Region, box


@dataclass(frozen=True)
class Plan:
    """What was decided: regions, what lives on chip, chains done in stripes, the addresses of buffers in dram; sharing: whether
    engines share the work of one operator; leads: see `paces`."""

    layout: Layout
    residency: Residency
    groups: dict[int, Group]
    dram_places: dict[str, int]
    processor: Processor
    sharing: bool = True
    leads: Mapping[int, int] = field(default_factory=dict)


@dataclass
class Emitted:
    """commands on "dram" and on named buffers; buffer_bytes: the size of each buffer that is to get an address in sram."""

    commands: list[Command] = field(default_factory=list)
    buffer_bytes: dict[str, int] = field(default_factory=dict)


def emit(plan: Plan, pool: ConstantPool, memo: Memo) -> Emitted:
    """Commands for all operators in their order; constants go into `pool` as they are needed."""
    emitter = _Emitter(plan, pool, memo)
    index = 0
    while index < len(plan.layout.network.operators):
        group = plan.groups.get(index)
        if group is not None:
            emitter.group(group)
            index = group.last + 1
        else:
            emitter.operator(index, plan.layout.network.operators[index])
            index += 1
    return emitter.emitted


class _Emitter:
    def __init__(self, plan: Plan, pool: ConstantPool, memo: Memo) -> None:
        self.plan, self.pool, self.memo = plan, pool, memo
        self.on_chip = plan.residency.on_chip
        self.emitted = Emitted()
        for name in self.on_chip:
            self.emitted.buffer_bytes[name] = plan.layout.storage.buffers[name].size_bytes
        self.buffers_made = 0
        self.paces = paces(plan.layout, self.on_chip, plan.processor, memo, plan.leads) if plan.sharing else {}

    def operator(self, index: int, operator: Operator) -> None:
        function, placed = operator.function, self.plan.layout.placed[index]
        if isinstance(function, View | Concat):
            for source, target in self.plan.layout.storage.moves.get(index, []):
                for image in range(target.shape[0]):
                    parts = image_of(source, image), image_of(target, image)
                    self._move(operator.layer, *parts, self.plan.residency.free_bytes[index])
        elif isinstance(function, Host):
            reads = tuple(self._whole(name) for name in operator.inputs)
            writes = tuple(self._whole(name) for name in operator.outputs)
            self._add("host", operator.layer, reads, writes, function)
        else:
            assert placed is not None
            free_bytes = self.plan.residency.free_bytes[index]
            on_chip = placed.on_chip(self.on_chip)
            pace = self.paces.get(index)
            recipe = self.memo.of(tiled, placed.operands, on_chip, free_bytes, pace, self.plan.processor)
            self._follow(recipe, [placed])

    def group(self, group: Group) -> None:
        """A chain of operators in stripes."""
        members = [each for each in self.plan.layout.placed[group.first : group.last + 1] if each is not None]
        operands = tuple([each.operands for each in members])
        on_chip = tuple([each.on_chip(self.on_chip) for each in members])
        if isinstance(group.stripes, Slices):
            recipe = self.memo.of(sliced, operands, on_chip, group.stripes, self.plan.processor)
        else:
            recipe = self.memo.of(striped, operands, on_chip, group.stripes, self.plan.processor)
        self._follow(recipe, members)

    def _follow(self, recipe: Recipe, members: Sequence[Placed]) -> None:
        """The commands of a recipe, with the homes of its slots."""
        homes = {}
        for number, size_bytes in enumerate(recipe.buffers):
            name = self._buffer()
            self.emitted.buffer_bytes[name] = size_bytes
            homes[f"buffer {number}"] = Home(name, 0)
        for number, (member, parts) in enumerate(recipe.stretches):
            spread = members[member].operands.spread
            named = [(_at(region, members[member].homes), role) for region, role in parts]
            stretch = self.pool.pack(members[member].layer, named, spread)
            homes[f"stretch {number}"] = Home("dram", stretch.offset_bytes)
        of_member = [{**homes, **self._places(member)} for member in members]
        for number, command in recipe.commands:
            places = of_member[number]
            reads = tuple([_at(region, places) for region in command.reads])
            writes = (_at(command.writes[0], places),)
            self._add(command.engine, members[number].layer, reads, writes, command.attributes)

    def _places(self, member: Placed) -> dict[str, Home]:
        """The homes of a member's maps: on chip by the name of the buffer, else in dram."""
        places, dram_places = {}, self.plan.dram_places
        for slot, home in member.homes.items():
            if home.memory in dram_places:
                places[slot] = Home("dram", dram_places[home.memory] + home.offset_bytes)
            else:
                places[slot] = home
        return places

    def _move(self, layer: str, source: Region, target: Region, free_bytes: int) -> None:
        if source.memory in self.on_chip and target.memory in self.on_chip:
            self._add("vector", layer, (source,), (target,), Copy())
        elif target.memory in self.on_chip:
            self._add("dma_in", layer, (self._placed(source),), (target,), Load())
        elif source.memory in self.on_chip:
            self._add("dma_out", layer, (source,), (self._placed(target),), Store())
        else:
            # Through the chip, in parts so small that one comes while another goes.
            axis = next((axis for axis, size in enumerate(source.shape[:-1]) if size > 1), -1)
            if axis >= 0 and 2 * aligned(local_copy(source, "data", "", 0).end_bytes) > free_bytes:
                middle, size = source.shape[axis] // 2, source.shape[axis]
                for part in ((0, middle), (middle, size)):
                    cuts = (*(None,) * axis, part)
                    self._move(layer, box(source, *cuts), box(target, *cuts), free_bytes)
                return
            local = local_copy(source, "data", self._buffer(), 0)
            self.emitted.buffer_bytes[local.memory] = local.end_bytes
            self._add("dma_in", layer, (self._placed(source),), (local,), Load())
            self._add("dma_out", layer, (local,), (self._placed(target),), Store())

    def _buffer(self) -> str:
        self.buffers_made += 1
        return f"buffer {self.buffers_made}"

    def _whole(self, name: str) -> Region:
        if name in self.plan.layout.storage.regions:
            return self._placed(self.plan.layout.storage.regions[name])
        return self.pool.whole(place(self.plan.layout.network.tensors[name], name, 0))

    def _placed(self, region: Region) -> Region:
        """A region of a buffer that lies in dram, with its address."""
        base = self.plan.dram_places[region.memory]
        return Region("dram", base + region.offset_bytes, region.shape, region.strides, region.bits)

    def _add(
        self, engine: str, layer: str, reads: tuple[Region, ...], writes: tuple[Region, ...], attributes: Attributes
    ) -> None:
        self.emitted.commands.append(Command(engine, layer, reads, writes, attributes))


def _at(region: Region, homes: dict[str, Home]) -> Region:
    """A region of a slot where that lies."""
    memory, offset_bytes = homes[region.memory]
    return Region(memory, offset_bytes + region.offset_bytes, region.shape, region.strides, region.bits)
