"""Settle: where tensors lie, which of them live on chip, and what passes through it in stripes, so that little is moved.

Each of these depends on the others, so they are decided in turns until all agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.engines.select import array_dataflows
from nas.compiler.opt.layout.operands import Layout, layout_of
from nas.compiler.opt.layout.storage import Buffer, Storage
from nas.compiler.opt.plan.residency import Residences, Residency
from nas.compiler.opt.plan.stripes import Group, Groups, Ways, plan_groups
from nas.compiler.opt.plan.waiting import waiting_maps
from nas.hw.spec import Processor


class Settled(NamedTuple):
    """A layout of all tensors, the buffers that live on chip, the groups by their first operators, and the bytes of maps that are
    moved to dram and back so.
    """

    layout: Layout
    residency: Residency
    groups: dict[int, Group]
    moved_bytes: int


class Layouts:
    """The layouts of one network, by the results that are not to take the bytes of an operand."""

    def __init__(self, network: Network, processor: Processor, switched_off: frozenset[str]) -> None:
        self.network, self.processor, self.switched_off = network, processor, switched_off
        self._known: dict[frozenset[str], Layout] = {}

    def apart(self, names: frozenset[str] = frozenset()) -> Layout:
        if names not in self._known:
            self._known[names] = self._made(names)
        return self._known[names]

    def _made(self, names: frozenset[str]) -> Layout:
        off = self.switched_off
        layout = layout_of(
            self.network,
            "in_place" not in off,
            names,
            None if "spread" in off else self.processor,
            array_dataflows(off),
            self._known.get(frozenset()),
        )
        return replace(layout, storage=_all_in_dram(layout.storage)) if "residency" in off else layout


def settle(layouts: Layouts, room_bytes: int, memo: Memo, storing: bool = False) -> list[Settled]:
    """The plans within `room_bytes` that move the fewest bytes, at most three.

    Maps that pass in stripes leave room for others, but some work is done twice then, and what their operators read is
    loaded twice. So both are tried where it matters. Where a map has room on chip, but somebody waits who could work meanwhile if
    it passed in stripes (`waiting`), that is another plan. It may free room, too; where it moves as many bytes as before, nobody can
    tell yet whether it pays.

    storing: other plans in place of these, in which maps that others read later pass as well, or chains have to do with the room that
    there is; there may be none.
    """
    off = layouts.switched_off
    ways = Ways("sharing" not in off, "slices" not in off, storing, evicting=True)
    room = _Room(layouts, room_bytes, memo)
    if not storing:
        return _fewest_moved(room.plans(ways))
    others = [plan for plan in room.plans(ways._replace(evicting=False)) if plan.groups]
    stored = [plan for plan in room.plans(ways) if any(group.stores for group in plan.groups.values())]
    return _fewest_moved(stored) + _fewest_moved(others)


def _fewest_moved(plans: Sequence[Settled]) -> list[Settled]:
    fewest = min((each.moved_bytes for each in plans), default=0)
    return [each for each in plans if each.moved_bytes == fewest]


class _Room:
    """Plans of a network within so many bytes."""

    def __init__(self, layouts: Layouts, room_bytes: int, memo: Memo) -> None:
        self._layouts, self._room_bytes, self._memo = layouts, room_bytes, memo
        self._stripes = "stripes" not in layouts.switched_off
        self._residences: dict[frozenset[str], Residences] = {}

    def plans(self, ways: Ways) -> list[Settled]:
        network, processor = self._layouts.network, self._layouts.processor
        plan = self._settled(ways)
        linking = plan.layout.links if self._stripes else frozenset[str]()
        if not linking:
            return [plan]

        def passing(evicted: frozenset[str], used: Callable[[Settled], frozenset[str]]) -> list[Settled]:
            """Plans in which they pass in stripes; those that are not `used` so stay on chip."""
            plans = []
            while evicted:
                plans.append(self._settled(ways, linking, evicted))
                useful = evicted & used(plans[-1])
                evicted = useful if useful < evicted else frozenset()
            return plans

        best = plan
        if plan.moved_bytes:
            linked = self._settled(ways, linking)
            between = passing(_between_readers(network, linking, linked), _kept_for)
            best = min([plan, linked, *between], key=lambda each: each.moved_bytes)
        plans = [best]
        for waiting in waiting_maps(best.layout, best.residency.on_chip, best.moved_bytes, processor, self._memo):
            others = passing(linking & waiting, lambda other: Groups(other.groups).passing(network))
            plans += [min(others, key=lambda each: each.moved_bytes)] if others else []
        return plans

    def _settled(
        self, ways: Ways, linking: frozenset[str] = frozenset(), evicted: frozenset[str] = frozenset()
    ) -> Settled:
        network, processor, memo = self._layouts.network, self._layouts.processor, self._memo
        apart: frozenset[str] = frozenset()
        # Each at most once, so that this comes to an end.
        brought_back: frozenset[str] = frozenset()
        joined_again: frozenset[str] = frozenset()
        while True:
            layout = self._layouts.apart(apart)
            residency = self._residences_with(apart).decide(evicted, linking)
            # In dram there is nothing to gain from results in place, and maps of their own come and go one by one.
            on_chip, regions = residency.on_chip, layout.storage.regions
            outside = {name for name in layout.storage.in_place if regions[name].memory not in on_chip}
            groups = Groups({})
            if self._stripes and not outside:
                groups = plan_groups(layout, residency, processor, memo, ways)
            if outside or groups.apart:
                apart |= groups.apart | outside
            elif groups.victim:
                evicted |= {groups.victim}
            elif stranded := residency.passing - groups.passing(network):
                linking -= stranded
            elif needless := evicted - brought_back - groups.beside(residency):
                # What they left for is done otherwise since.
                evicted -= needless
                brought_back |= needless
            elif needless := (apart & on_chip) - joined_again - groups.results(network):
                # They were put apart beside buffers that have left the chip since.
                apart -= needless
                joined_again |= needless
            else:
                return Settled(layout, residency, groups.by_first, _moved_bytes(layout, residency, groups))

    def _residences_with(self, apart: frozenset[str]) -> Residences:
        if apart not in self._residences:
            layout, processor = self._layouts.apart(apart), self._layouts.processor
            self._residences[apart] = Residences(layout, processor, self._room_bytes, self._memo)
        return self._residences[apart]


def _between_readers(network: Network, linking: frozenset[str], plan: Settled) -> frozenset[str]:
    """The maps on chip between two readers of a map in dram which, in a chain that they don't leave, is loaded once for both."""
    layout, residency = plan.layout, plan.residency
    regions = layout.storage.regions
    found: set[str] = set()
    for name, users in network.users.items():
        if name not in regions or regions[name].memory in residency.on_chip:
            continue
        for first, later in pairwise(users):
            inner = {network.operators[index].outputs[0] for index in range(first, later)}
            if inner <= linking and network.operators[first].inputs[0] == name:
                found |= inner
    return frozenset(found & residency.on_chip)


def _kept_for(plan: Settled) -> frozenset[str]:
    """What passes in chains that load a map once for several readers."""
    chains = {first: group for first, group in plan.groups.items() if any(group.stripes.again)}
    return Groups(chains).passing(plan.layout.network)


def _moved_bytes(layout: Layout, residency: Residency, groups: Groups) -> int:
    """The bytes of maps that lie in dram and are read or written there, but for what the network is given and gives."""
    passing, given = groups.passing(layout.network), groups.given()
    not_moved = residency.on_chip | passing
    total = 0
    for index, placed in enumerate(layout.placed):
        if placed is None:
            continue
        kept = given.get(index, frozenset())
        for reads, write in placed.operands.images:
            for region in (*(each for number, each in enumerate(reads) if number not in kept), write):
                home = placed.homes[region.memory].memory
                buffer = layout.storage.buffers.get(home)
                if buffer is not None and not buffer.in_dram and home not in not_moved:
                    total += region.payload_bytes
    return total


def _all_in_dram(storage: Storage) -> Storage:
    buffers = {name: Buffer(name, buffer.size_bytes, True) for name, buffer in storage.buffers.items()}
    return replace(storage, buffers=buffers)
