"""Layer fusion: chains of layers whose maps are too large for the chip are done stripe by stripe, and never leave it.

A stripe is a few rows of the last layer's output. Each layer before it makes just the rows that the next one needs for
them, halo included: what two stripes both need is made twice, which costs some work and saves all the traffic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.coalesce import transfer_bytes
from nas.compiler.opt.operands import Layout, Operands, Placed
from nas.compiler.opt.residency import Residency
from nas.compiler.opt.share import Pace, array_part_cycles, engine_cycles
from nas.compiler.opt.spread import constant_copy
from nas.compiler.opt.storage import COMPUTES, Storage
from nas.compiler.regions import MAP_RANK, aligned
from nas.compiler.tiling import Tile, engine_of, input_rows, part_of, roles
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.tensor import stored_bytes

# A stripe that makes more than this share of its rows twice is not worth it.
_LARGEST_OVERHEAD = 0.6
# So many heights are tried, from the tallest that fits.
_TRIED = 3


@dataclass(frozen=True)
class Stripes:
    """Stripes of `rows` rows of the last member's output. lags: how many stripes each member is behind the first one;
    paces: how each is shared between the engines, None for one engine only.
    """

    rows: int
    lags: tuple[int, ...]
    paces: tuple[Pace | None, ...]


@dataclass(frozen=True)
class Group:
    """Operators first..last (inclusive) done in stripes."""

    first: int
    last: int
    stripes: Stripes


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
        """The maps that pass through the chip in stripes."""
        return frozenset(
            network.operators[index].outputs[0]
            for group in self.by_first.values()
            for index in range(group.first, group.last)
        )


def plan_groups(layout: Layout, residency: Residency, processor: Processor, sharing: bool, memo: Memo) -> Groups:
    """The chains worth doing in stripes."""
    network, storage, placed = layout.network, layout.storage, layout.placed
    linking = links(network, storage) - residency.on_chip
    # Transfers bring constants of later operators, too.
    spare_bytes = transfer_bytes(processor)
    groups: dict[int, Group] = {}
    apart: set[str] = set()
    index = 0
    while index < len(placed):
        last, best = index, None
        while last + 1 < len(placed) and network.operators[last].outputs[0] in linking:
            last += 1
            found = _stripes_of(placed[index : last + 1], storage, residency, (index, last), spare_bytes)
            stripes = memo.of(choose_stripes, *found, processor, sharing)
            if stripes is None:
                break
            best = Group(index, last, stripes)
        if best is None and last > index:
            victim = _victim(network, storage, residency, index, last)
            if victim:
                return Groups({}, victim)
        if best is not None:
            groups[index] = best
            apart.update(_written_over(network, storage, best))
        index = best.last + 1 if best is not None else index + 1
    return Groups(groups, apart=frozenset(apart))


def _written_over(network: Network, storage: Storage, group: Group) -> list[str]:
    """The results of a group that lie where another of its operators reads: the next stripe would find them there."""
    members = network.operators[group.first : group.last + 1]
    read = [{storage.regions[name].memory for name in member.inputs if name in storage.regions} for member in members]
    over = []
    for place, member in enumerate(members):
        target = storage.regions[member.outputs[0]]
        if member.outputs[0] in storage.in_place and any(
            target.memory in names for other, names in enumerate(read) if other != place
        ):
            over.append(member.outputs[0])
    return over


def _victim(network: Network, storage: Storage, residency: Residency, first: int, last: int) -> str:
    """The largest buffer that keeps the chain first..last from fitting, if it is no larger than the chain's own maps."""
    alive = residency.alive(first, last)
    largest = max(alive, key=lambda name: (storage.buffers[name].size_bytes, name), default="")
    kept_bytes = sum(storage.buffers[network.operators[index].outputs[0]].size_bytes for index in range(first, last))
    return largest if largest and storage.buffers[largest].size_bytes <= kept_bytes else ""


def links(network: Network, storage: Storage) -> frozenset[str]:
    """The maps that one operator hands to the next and to nobody else, so that both can be done in stripes."""
    users = network.users()
    return frozenset(
        operator.outputs[0]
        for index, operator in enumerate(network.operators[:-1])
        if _hands_on(network, storage, users, index)
    )


def _hands_on(network: Network, storage: Storage, users: dict[str, list[int]], index: int) -> bool:
    here, following = network.operators[index], network.operators[index + 1]
    if not (isinstance(here.function, COMPUTES) and isinstance(following.function, COMPUTES)) or len(here.outputs) != 1:
        return False
    name = here.outputs[0]
    region = storage.regions[name]
    owns_buffer = region.memory == name and len(region.shape) == MAP_RANK + 1
    can_pass = owns_buffer and not storage.buffers[name].in_dram
    return can_pass and users.get(name) == [index + 1] and following.inputs[0] == name


def _stripes_of(
    chain: Sequence[Placed | None], storage: Storage, residency: Residency, span: tuple[int, int], spare_bytes: int
) -> tuple[tuple[Operands, ...], tuple[frozenset[str], ...], int]:
    """The operators of `span`, of each the slots that lie on chip, and the bytes that are free beside them."""
    members = [each for each in chain if each is not None]
    # The stripes interleave the operators: whatever lives beside one of them lives beside all of them.
    alive_bytes = sum(aligned(storage.buffers[name].size_bytes) for name in residency.alive(*span))
    operands = tuple([each.operands for each in members])
    on_chip = tuple([each.on_chip(residency.on_chip) for each in members])
    return operands, on_chip, residency.room_bytes - alive_bytes - spare_bytes


def choose_stripes(
    members: tuple[Operands, ...],
    on_chip: tuple[frozenset[str], ...],
    free_bytes: int,
    processor: Processor,
    sharing: bool,
) -> Stripes | None:
    """The tallest stripes of a chain that fit, at least four of them; None where they overlap too much.

    They fit twice, so that one is begun while the other is finished, or else once. on_chip: the slots of each member.
    sharing: whether convolutions may be cut between the engines.
    """
    for lags in [_lags(members), (0,) * len(members)] if sharing else [(0,) * len(members)]:
        best, best_cycles, fitting = None, 0.0, 0
        for rows in _heights(members):
            if _group_bytes(members, on_chip, rows, lags) <= free_bytes:
                found = _stripes(members, rows, lags, sharing, processor)
                if found is not None and (best is None or found[1] < best_cycles):
                    best, best_cycles = found
                fitting += 1
            if fitting == _TRIED:
                break
        if best is not None:
            return best
    return None


def _heights(members: tuple[Operands, ...]) -> list[int]:
    """The rows of the last member's output that a stripe may have: at least four stripes, of whole blocks of the last spread."""
    row_count = members[-1].size[0]
    step = max(member.spread.rows if member.spread else 1 for member in members)
    heights: list[int] = []
    stripes = 4
    while not heights or heights[-1] > 1:
        rows = ceil_div(row_count, stripes)
        heights.append(ceil_div(rows, step) * step if rows > step else rows)
        stripes += max(1, stripes // 4)
    return list(dict.fromkeys(heights))


def _stripes(
    members: tuple[Operands, ...], rows: int, lags: tuple[int, ...], sharing: bool, processor: Processor
) -> tuple[Stripes, float] | None:
    """Stripes of so many rows, and their cycles by estimate; None where they overlap too much."""
    row_count = members[-1].size[0]
    if not _all_read(members, row_count, rows):
        return None
    ranges = row_ranges(members, _middle(row_count, rows))
    made = [stop - start for start, stop in ranges]
    overhead = max(
        height * row_count / (rows * member.size[0]) - 1 for height, member in zip(made, members, strict=True)
    )
    if overhead > _LARGEST_OVERHEAD:
        return None
    paces, cycles = _paces(members, ranges, lags[-1] > 0, processor)
    # Nothing overlaps with the load of the first stripe, and little with the first and the last ones' work.
    return Stripes(rows, lags, paces if sharing else (None,) * len(members)), cycles * (row_count / rows + lags[-1] + 1)


def _lags(members: Sequence[Operands]) -> tuple[int, ...]:
    """What one engine makes of the other's map it makes a stripe later, while that makes the next."""
    lags, engines = [0], [engine_of(member.function) for member in members]
    for before, engine in pairwise(engines):
        lags.append(lags[-1] + (before != engine))
    return tuple(lags)


def _paces(
    members: Sequence[Operands], ranges: Sequence[tuple[int, int]], is_lagging: bool, processor: Processor
) -> tuple[tuple[Pace, ...], float]:
    """Where the members overlap, the vector engine makes as much of its own as the matrix engine's own takes.

    Also the cycles of one stripe, about.
    """
    cycles = {"matrix": [0] * len(members), "vector": [0] * len(members)}
    helping_cycles = 0
    for place, (member, made) in enumerate(zip(members, ranges, strict=True)):
        reads, write = member.images[0]
        part = part_of(member.function, reads, write, Tile(made, (0, member.size[1])))
        engine = engine_of(part.function)
        cycles[engine][place] = engine_cycles(part, member.array, processor)
        if engine == "vector":
            helping_cycles += array_part_cycles(part, member.array, processor)
    matrix_cycles, vector_cycles = sum(cycles["matrix"]), max(1, sum(cycles["vector"]))
    both = float(matrix_cycles + vector_cycles)
    if is_lagging:
        both = max(matrix_cycles, vector_cycles)
        if helping_cycles and vector_cycles > matrix_cycles:
            both = vector_cycles * (matrix_cycles + helping_cycles) / (vector_cycles + helping_cycles)
    leads = [matrix_cycles * own // vector_cycles if is_lagging else 0 for own in cycles["vector"]]
    return tuple(Pace(0, lead) for lead in leads), both


def _all_read(members: Sequence[Operands], row_count: int, rows: int) -> bool:
    """Whether every stripe of every map, the one that is read included, has a row: one that sees only padding has none.

    If there is any, the first or the last is one.
    """
    first = members[0]
    for row in (0, (row_count - 1) // rows * rows):
        made = row_ranges(members, (row, min(row + rows, row_count)))
        read = input_rows(first.function, first.images[0][0][0], made[0])
        if any(start >= stop for start, stop in (read, *made)):
            return False
    return True


def _middle(row_count: int, rows: int) -> tuple[int, int]:
    start = (row_count // 2) // rows * rows
    return start, min(start + rows, row_count)


def row_ranges(members: Sequence[Operands], rows: tuple[int, int]) -> list[tuple[int, int]]:
    """The rows of its output that each member makes for `rows` of the last one's."""
    ranges = [rows]
    for member in reversed(members[1:]):
        data = member.images[0][0][0]
        ranges.append(input_rows(member.function, data, ranges[-1]))
    return list(reversed(ranges))


def _group_bytes(
    members: tuple[Operands, ...], on_chip: tuple[frozenset[str], ...], rows: int, lags: tuple[int, ...]
) -> int:
    """Constants of all members, and the stripes of all maps that are not on chip: one of each that lives at a time, and another
    one of what comes or goes while the engines are at work, where they don't wait for each other anyway.
    """
    overlap = 1 + (lags[-1] > 0)
    ranges = row_ranges(members, _middle(members[-1].size[0], rows))
    total = 0
    for place, (member, slots, made) in enumerate(zip(members, on_chip, ranges, strict=True)):
        reads, write = member.images[0]
        for region, role in zip(reads, roles(member.function), strict=True):
            if region.memory in member.constants:
                total += constant_copy(region, role, member.spread, "", 0)[1]
            elif region.memory not in slots and (place == 0 or role != "data"):
                height = input_rows(member.function, region, made)
                shape = (*region.shape[:-2], height[1] - height[0], region.shape[-1])
                total += overlap * aligned(stored_bytes(shape, region.bits))
        if write.memory not in slots:
            shape = (*write.shape[:-2], made[1] - made[0], write.shape[-1])
            generations = overlap if place == len(members) - 1 else 1 + lags[place + 1] - lags[place]
            total += generations * aligned(stored_bytes(shape, write.bits))
    return total
