"""Layer fusion: chains of layers whose maps are too large for the chip are done stripe by stripe, and never leave it.

A stripe is a few rows of the last layer's output. Each layer before it makes just the rows that the next one needs for
them, halo included (`halo`): it costs some work, and saves all the traffic. Where layers go channel by channel, slices of channels
do as well (`slices`), and whatever is quicker is taken.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.layout.operands import Layout, Placed
from nas.compiler.opt.layout.storage import Storage
from nas.compiler.opt.plan.chain import Chain
from nas.compiler.opt.plan.heights import Stripes, choose_stripes
from nas.compiler.opt.plan.pace import whole_cycles
from nas.compiler.opt.plan.residency import Residency
from nas.compiler.opt.plan.slices import Slices, choose_slices
from nas.compiler.opt.plan.stored import are_stored_in_time, read_later_too
from nas.compiler.opt.plan.tile import transfer_bytes
from nas.compiler.regions import aligned
from nas.hw.spec import Processor
from nas.ir.command import Conv
from nas.timing.cycles import transfer_cycles

# Of the shorter of work and transfers, what doesn't overlap with the longer.
_APART = 0.3
# Of the time of transfers, what they cost even where they do: energy, and room for what is on its way.
_EFFORT = 0.25


class Ways(NamedTuple):
    """sharing: whether engines share the work of one operator; slicing: whether chains may be cut along channels; storing: whether
    maps that others read later may pass, and go to dram as well; evicting: whether buffers leave the chip where no chain fits
    beside them.
    """

    sharing: bool
    slicing: bool
    storing: bool
    evicting: bool


@dataclass(frozen=True)
class Group:
    """Operators first..last (inclusive) done in stripes, or in slices."""

    first: int
    last: int
    stripes: Stripes | Slices

    @property
    def stores(self) -> bool:
        """Whether anything passes and goes to dram as well."""
        return any(self.stripes.stores)


@dataclass(frozen=True)
class Groups:
    """by_first: the groups by their first operator. victim: a buffer that should leave the chip first, so that a chain of
    larger maps can stay on it; then all is to be planned again. "" if there is none. apart: results that should not take the
    bytes of an operand, since stripes before them still read it; then all is to be planned again, too.
    """

    by_first: dict[int, Group]
    victim: str = ""
    apart: frozenset[str] = frozenset()

    def passing(self, network: Network) -> frozenset[str]:
        """The maps that pass through the chip in stripes, and lie nowhere else."""
        return frozenset(
            network.operators[group.first + place].outputs[0]
            for group in self.by_first.values()
            for place, stores in enumerate(group.stripes.stores[:-1])
            if not stores
        )

    def results(self, network: Network) -> frozenset[str]:
        """What the operators of all groups make."""
        return frozenset(
            network.operators[index].outputs[0]
            for group in self.by_first.values()
            for index in range(group.first, group.last + 1)
        )

    def given(self) -> dict[int, frozenset[int]]:
        """By operator the operands that it need not load: what is kept for it, and what is stored, but passes, too."""
        given: dict[int, frozenset[int]] = {}
        for group in self.by_first.values():
            stripes = group.stripes
            for place, again in enumerate(stripes.again):
                passes = [stripes.takes[place]] if place and stripes.stores[place - 1] else []
                given[group.first + place] = again.union(passes)
        return given

    def spans(self, residency: Residency) -> dict[str, tuple[int, int]]:
        """From which operator to which each buffer lives: whatever lives beside one operator of a group lives beside all of them."""
        ends = {
            index: (group.first, group.last)
            for group in self.by_first.values()
            for index in range(group.first, group.last + 1)
        }
        return {
            name: (ends.get(first, (first, first))[0], ends.get(last, (last, last))[1])
            for name, (first, last) in residency.spans.items()
        }

    def beside(self, residency: Residency) -> frozenset[str]:
        """The buffers that live, or would if they were on chip, while a group is done."""
        firsts = sorted(self.by_first)
        # Groups have no operator in common: the last one that begins in time ends last.
        ends = [-1, *(self.by_first[first].last for first in firsts)]
        return frozenset(
            name for name, (first, last) in residency.spans.items() if first <= ends[bisect_right(firsts, last)]
        )


def plan_groups(layout: Layout, residency: Residency, processor: Processor, memo: Memo, ways: Ways) -> Groups:
    """The chains worth doing in stripes."""
    network, storage = layout.network, layout.storage
    alone = layout.links - residency.on_chip
    chains = _Chains(layout, residency, processor, ways, memo, alone)
    groups: list[Group] = []
    for first, last in _runs(network, alone):
        chains.any_fits = False
        groups += chains.best(first, last)
        victim = "" if chains.any_fits or not ways.evicting else _victim(network, storage, residency, first, last)
        if victim:
            return Groups({}, victim)
    shared = read_later_too(network, storage, residency) if ways.storing else frozenset()
    if shared:
        longer = [group for run in _runs(network, alone | shared) for group in chains.best(*run)]
        groups = longer if any(group.stores for group in longer) else groups
    apart = frozenset(name for group in groups for name in _written_over(network, storage, group))
    return Groups({group.first: group for group in groups}, apart=apart)


def _runs(network: Network, linking: frozenset[str]) -> Iterator[tuple[int, int]]:
    """(first, last) of the operators of which each hands on one of these maps to the next."""
    first = 0
    for index, operator in enumerate(network.operators):
        if operator.outputs[0] not in linking:
            if index > first:
                yield first, index
            first = index + 1


class _Chains:
    """A run of operators that hand on maps -> the chains in which they are done first, by estimate.

    The longer a chain, the less goes through the dram, but the more rows are made twice, and in smaller stripes.
    """

    def __init__(
        self,
        layout: Layout,
        residency: Residency,
        processor: Processor,
        ways: Ways,
        memo: Memo,
        alone: frozenset[str],
    ) -> None:
        """alone: the maps that nobody but the next operator reads."""
        self._alone = alone
        self._layout, self._residency, self._processor = layout, residency, processor
        self._ways, self._memo = ways, memo
        # Transfers bring constants of later operators, too.
        self._spare_bytes = transfer_bytes(processor)
        self.any_fits = False

    def best(self, first: int, last: int) -> list[Group]:
        """The chains of two and more; what is in none of them is done by itself."""
        # The quickest way to do all operators before this one.
        ways: dict[int, tuple[float, list[Group]]] = {first: (0.0, [])}
        for start in range(first, last + 1):
            cycles, chains = ways[start]
            for stop in range(start, last + 1):
                groups: list[Group | None] = [None] if stop == start else [*self._groups(start, stop)]
                if not groups:
                    break
                for group in groups:
                    total = cycles + self._cycles(start, stop, group)
                    if stop + 1 not in ways or total < ways[stop + 1][0]:
                        ways[stop + 1] = total, chains if group is None else [*chains, group]
        return ways[last + 1][1]

    def _groups(self, first: int, last: int) -> list[Group]:
        """The chain, as far as it fits: what is read again later is kept, or loaded again."""
        found: list[Group] = []
        network = self._layout.network
        stores = tuple(each.outputs[0] not in self._alone for each in network.operators[first:last])
        if any(stores) and not are_stored_in_time(network, first, last):
            return found
        free = _free_beside(self._layout, self._residency, (first, last), self._spare_bytes)
        for chain in _chains_of(self._layout, self._residency, (first, last), (*stores, False)):
            for choose in (choose_stripes, choose_slices) if self._ways.slicing else (choose_stripes,):
                passing = self._memo.of(choose, chain, *free, self._processor, self._ways.sharing)
                if passing is not None:
                    found.append(Group(first, last, passing))
        self.any_fits |= bool(found)
        return found

    def _cycles(self, first: int, last: int, group: Group | None) -> float:
        """Of a chain, or of one operator by itself, by estimate."""
        members = [each for each in self._layout.placed[first : last + 1] if each is not None]
        busy = work_cycles(members[0], self._processor, self._memo) if group is None else group.stripes.cycles
        moving = moved_cycles(members, group, self._residency.on_chip, self._processor)
        return max(busy, moving) + _APART * min(busy, moving) + _EFFORT * moving


def work_cycles(placed: Placed, processor: Processor, memo: Memo) -> int:
    """The cycles of one operator, in one command for each image."""
    return len(placed.operands.images) * memo.of(whole_cycles, placed.operands, processor)


def moved_cycles(members: Sequence[Placed], group: Group | None, on_chip: frozenset[str], processor: Processor) -> int:
    """The cycles of the maps that a chain, or one operator by itself, reads from dram and writes there. on_chip: buffers."""
    total = 0
    for place, placed in enumerate(members):
        slots, operands = placed.on_chip(on_chip), placed.operands
        # What the member before makes, and what is kept for it.
        given = () if group is None or not place else (group.stripes.takes[place], *group.stripes.again[place])
        stores = place == len(members) - 1 or (group is not None and group.stripes.stores[place])
        for reads, write in operands.images:
            there = {reads[number].memory for number in given}
            moved = [each for each in reads if each.memory not in operands.constants and each.memory not in there]
            moved += [write] if stores else []
            total += sum(each.payload_bytes for each in moved if each.memory not in slots)
    return transfer_cycles(total, processor)


def _written_over(network: Network, storage: Storage, group: Group) -> list[str]:
    """The results of a group that lie where another of its operators reads, so that the next stripe would find them there, or
    where what passes in stripes would lie.
    """
    members = network.operators[group.first : group.last + 1]
    passing = {member.outputs[0] for member in members[:-1]}
    read = [{storage.regions[name].memory for name in member.inputs if name in storage.regions} for member in members]
    over = []
    for place, member in enumerate(members):
        target = storage.regions[member.outputs[0]]
        others = any(target.memory in names for other, names in enumerate(read) if other != place)
        if member.outputs[0] in storage.in_place and (others or target.memory in passing):
            over.append(member.outputs[0])
    return over


def _victim(network: Network, storage: Storage, residency: Residency, first: int, last: int) -> str:
    """The largest buffer that keeps the chain first..last from fitting, if it is no larger than the chain's own maps."""
    alive = residency.alive(first, last)
    largest = max(alive, key=lambda name: (storage.buffers[name].size_bytes, name), default="")
    kept_bytes = sum(storage.buffers[network.operators[index].outputs[0]].size_bytes for index in range(first, last))
    return largest if largest and storage.buffers[largest].size_bytes <= kept_bytes else ""


def _takes_of(network: Network, first: int, last: int) -> tuple[int, ...]:
    """The operand of each operator of a chain that the one before it makes, 0 of the first."""
    chain = network.operators[first : last + 1]
    return (0, *(after.inputs.index(before.outputs[0]) for before, after in pairwise(chain)))


def _chains_of(layout: Layout, residency: Residency, span: tuple[int, int], stores: tuple[bool, ...]) -> list[Chain]:
    """The operators of `span`, so that what the first one reads is kept for others, if any read it, and so that it is not."""
    first, last = span
    placed = [each for each in layout.placed[first : last + 1] if each is not None]
    members, takes = tuple([each.operands for each in placed]), _takes_of(layout.network, first, last)
    nothing = (frozenset[int](),) * len(members)
    again = (frozenset[int](), *(_reads_again(placed[0], each, residency.on_chip) for each in placed[1:]))
    return [Chain(members, takes, each, stores) for each in dict.fromkeys((again, nothing))]


def _reads_again(first: Placed, later: Placed, on_chip: frozenset[str]) -> frozenset[int]:
    """The operands of `later` that are, in every image, what `first` reads as its data from dram."""
    function, images = later.operands.function, later.operands.images
    pooled = isinstance(function, Conv) and function.tail.pool is not None

    def same(number: int) -> bool:
        for (own, _), (others, _) in zip(first.operands.images, images, strict=True):
            data, other = own[0], others[number]
            home = first.homes[data.memory]
            as_it_is = (data.shape, data.strides, data.bits) == (other.shape, other.strides, other.bits)
            if home != later.homes[other.memory] or home.memory in on_chip or not as_it_is:
                return False
        return True

    return frozenset(number for number in range(len(images[0][0])) if not (pooled and number) and same(number))


def _free_beside(
    layout: Layout, residency: Residency, span: tuple[int, int], spare_bytes: int
) -> tuple[tuple[frozenset[str], ...], int]:
    """Of each operator of `span` the slots that lie on chip, and the bytes that are free beside them."""
    first, last = span
    # The stripes interleave the operators: whatever lives beside one of them lives beside all of them.
    alive_bytes = sum(aligned(layout.storage.buffers[name].size_bytes) for name in residency.alive(*span))
    members = [each for each in layout.placed[first : last + 1] if each is not None]
    on_chip = tuple([each.on_chip(residency.on_chip) for each in members])
    return on_chip, residency.room_bytes - alive_bytes - spare_bytes
