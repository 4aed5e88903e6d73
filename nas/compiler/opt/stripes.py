"""Layer fusion: chains of layers whose maps are too large for the chip are done stripe by stripe, and never leave it.

A stripe is a few rows of the last layer's output. Each layer before it makes just the rows that the next one needs for
them, halo included: what two stripes both need is made twice, which costs some work and saves all the traffic.
"""

from dataclasses import dataclass

from nas.compiler.network import Network
from nas.compiler.opt.residency import Residency
from nas.compiler.opt.storage import Storage
from nas.compiler.opt.tile import Operands, operands_of
from nas.compiler.regions import MAP_RANK, aligned
from nas.compiler.tiling import input_rows, local_copy, roles
from nas.ir.tensor import stored_bytes

# A stripe that makes more than this share of its rows twice is not worth it.
_LARGEST_OVERHEAD = 0.6


@dataclass(frozen=True)
class Group:
    """Operators first..last (inclusive) done in stripes of `rows` rows of the last one's output."""

    first: int
    last: int
    rows: int


@dataclass(frozen=True)
class Groups:
    """by_first: the groups by their first operator. victim: a buffer that should leave the chip first, so that a chain of
    larger maps can stay on it; then all is to be planned again. "" if there is none.
    """

    by_first: dict[int, Group]
    victim: str = ""


def plan_groups(network: Network, storage: Storage, residency: Residency) -> Groups:
    """The chains worth doing in stripes."""
    operands = [operands_of(operator, network, storage) for operator in network.operators]
    users = network.users()
    groups: dict[int, Group] = {}
    index = 0
    while index < len(operands):
        last, best = index, None
        while last + 1 < len(operands) and _linked(network, storage, residency, users, operands, last):
            last += 1
            group = _sized(operands, storage, residency, index, last)
            if group is None:
                break
            best = group
        if best is None and last > index:
            victim = _victim(network, storage, residency, index, last)
            if victim:
                return Groups({}, victim)
        if best is not None:
            groups[index] = best
        index = best.last + 1 if best is not None else index + 1
    return Groups(groups)


def _victim(network: Network, storage: Storage, residency: Residency, first: int, last: int) -> str:
    """The largest buffer that keeps the chain first..last from fitting, if it is no larger than the chain's own maps."""
    alive = residency.alive(first, last)
    largest = max(alive, key=lambda name: (storage.buffers[name].size_bytes, name), default="")
    kept_bytes = sum(storage.buffers[network.operators[index].outputs[0]].size_bytes for index in range(first, last))
    return largest if largest and storage.buffers[largest].size_bytes <= kept_bytes else ""


def _linked(
    network: Network,
    storage: Storage,
    residency: Residency,
    users: dict[str, list[int]],
    operands: list[Operands | None],
    index: int,
) -> bool:
    """Whether operator `index` hands its map, which doesn't fit on chip, to the next operator and to nobody else."""
    here, following = operands[index], operands[index + 1]
    if here is None or following is None or len(network.operators[index].outputs) != 1:
        return False
    name = network.operators[index].outputs[0]
    region = storage.regions[name]
    owns_buffer = region.memory == name and len(region.shape) == MAP_RANK + 1
    off_chip = name not in residency.on_chip and not storage.buffers[region.memory].in_dram
    return (
        owns_buffer and off_chip and users.get(name) == [index + 1] and network.operators[index + 1].inputs[0] == name
    )


def _sized(
    operands: list[Operands | None], storage: Storage, residency: Residency, first: int, last: int
) -> Group | None:
    """The group with the tallest stripes that fit, in at least four stripes; None where they overlap too much."""
    members = [each for each in operands[first : last + 1] if each is not None]
    # The stripes interleave the operators: whatever lives beside one of them lives beside all of them.
    alive_bytes = sum(aligned(storage.buffers[name].size_bytes) for name in residency.alive(first, last))
    free_bytes = residency.room_bytes - alive_bytes
    row_count = members[-1].size[0]
    rows = _stripe_rows(members, residency, free_bytes)
    if not rows or not _all_read(members, row_count, rows):
        return None
    made = [stop - start for start, stop in row_ranges(members, _middle(row_count, rows))]
    overhead = max(
        height * row_count / (rows * member.size[0]) - 1 for height, member in zip(made, members, strict=True)
    )
    return Group(first, last, rows) if overhead <= _LARGEST_OVERHEAD else None


def _stripe_rows(members: list[Operands], residency: Residency, free_bytes: int) -> int:
    """The tallest stripe that fits: twice, so that one is begun while the other is finished, or else once; 0 for none."""
    for generations in (2, 1):
        rows = max(1, -(-members[-1].size[0] // 4))
        while rows > 1 and _group_bytes(members, residency, rows, generations) > free_bytes:
            rows = -(-rows // 2)
        if _group_bytes(members, residency, rows, generations) <= free_bytes:
            return rows
    return 0


def _all_read(members: list[Operands], row_count: int, rows: int) -> bool:
    """Whether every stripe of every map, the one that is read included, has a row: one that sees only padding has none."""
    first = members[0]
    for row in range(0, row_count, rows):
        made = row_ranges(members, (row, min(row + rows, row_count)))
        read = input_rows(first.function, first.images[0][0][0], made[0])
        if any(start >= stop for start, stop in (read, *made)):
            return False
    return True


def _middle(row_count: int, rows: int) -> tuple[int, int]:
    start = (row_count // 2) // rows * rows
    return start, min(start + rows, row_count)


def row_ranges(members: list[Operands], rows: tuple[int, int]) -> list[tuple[int, int]]:
    """The rows of its output that each member makes for `rows` of the last one's."""
    ranges = [rows]
    for member in reversed(members[1:]):
        data = member.images[0][0][0]
        ranges.append(input_rows(member.function, data, ranges[-1]))
    return list(reversed(ranges))


def _group_bytes(members: list[Operands], residency: Residency, rows: int, generations: int) -> int:
    """Constants of all members, and so many generations of the stripes of all maps that are not on chip."""
    ranges = row_ranges(members, _middle(members[-1].size[0], rows))
    total = 0
    for place, (member, made) in enumerate(zip(members, ranges, strict=True)):
        reads, write = member.images[0]
        for region, role in zip(reads, roles(member.function), strict=True):
            if region.memory in member.constants:
                total += aligned(local_copy(region, role, "", 0).end_bytes)
            elif region.memory not in residency.on_chip and (place == 0 or role != "data"):
                height = input_rows(member.function, region, made)
                shape = (*region.shape[:-2], height[1] - height[0], region.shape[-1])
                total += generations * aligned(stored_bytes(shape, region.bits))
        if write.memory not in residency.on_chip:
            shape = (*write.shape[:-2], made[1] - made[0], write.shape[-1])
            total += generations * aligned(stored_bytes(shape, write.bits))
    return total
