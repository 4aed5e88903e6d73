"""Dependences against the bytes themselves, one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.ir.command import Command, Copy
from nas.ir.deps import dependences
from nas.ir.history import History
from nas.ir.overlap import regions_meet, without_blocks
from nas.ir.spot import Spot, Step
from nas.ir.tensor import Region, box


def bytes_of(region: Region) -> set[int]:
    places = np.zeros(1, np.int64)
    for size, stride in zip(region.shape, region.strides, strict=True):
        places = (places[:, None] + np.arange(size) * stride).reshape(-1)
    bits = region.offset_bytes * 8 + places[:, None] * region.bits + np.arange(region.bits)
    return set(np.unique(bits // 8).tolist())


@st.composite
def regions(draw: st.DrawFn) -> Region:
    bits = draw(st.sampled_from([4, 8, 32]))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=3, max_size=3)))
    row = draw(st.sampled_from([4, 6, 8]))
    strides = draw(st.sampled_from([(row * 5, row, 1), (shape[1] * shape[2], shape[2], 1), (row * 4, row, 2)]))
    return Region("sram", draw(st.integers(0, 60)), shape, strides, bits)


@st.composite
def any_regions(draw: st.DrawFn) -> Region:
    """Of any rank and width, with strides that belong to no tensor: repeated, interlocked, in the wrong order."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    strides = tuple(draw(st.lists(st.integers(0, 9), min_size=len(shape), max_size=len(shape))))
    bits = draw(st.sampled_from([1, 2, 4, 8, 16, 32]))
    return Region("sram", draw(st.integers(0, 40)), shape, strides, bits)


@settings(max_examples=800, deadline=None, derandomize=True)
@given(any_regions() | regions(), any_regions() | regions())
def test_regions_that_share_a_byte_meet(a: Region, b: Region) -> None:
    if bytes_of(a) & bytes_of(b):
        assert regions_meet(a, b)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(any_regions() | regions())
def test_without_blocks_the_elements_are_the_same(region: Region) -> None:
    assert bytes_of(without_blocks(region)) == bytes_of(region)


@pytest.mark.parametrize(("down", "across"), [(1, 2), (2, 1), (2, 4), (3, 8)])
def test_blocks_of_outputs_are_the_rows_and_columns_that_they_make_up(down: int, across: int) -> None:
    """As an array writes them that makes several neighbours at once: (n, v, u, p / v, q / u)."""
    whole = Region("sram", 0, (5, 6, 8), (96, 8, 1), 8)
    shape, strides = (5, down, across, 6 // down, 8 // across), (96, 8, 1, 8 * down, across)
    assert without_blocks(Region("sram", 0, shape, strides, 8)) == whole
    below = Region("sram", 6 * 8, (5, down, across, 6 // down, 8 // across), strides, 8)
    commands = [Command("matrix", "", (), (each,), Copy()) for each in (whole, below)]
    assert dependences(commands) == [(), ()]


def test_tiles_of_one_tensor_do_not_meet() -> None:
    top, bottom = (Region("dram", offset, (4, 2, 8), (64, 8, 1), 8) for offset in (0, 16))
    assert not regions_meet(top, bottom)


def test_weights_packed_behind_one_another_meet_where_they_do() -> None:
    a, b = (Region("sram", offset, (1, 8, 3, 3), (72, 9, 3, 1), 32) for offset in (0x300, 0x400))
    assert regions_meet(a, b)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(any_regions() | regions(), any_regions() | regions()), min_size=2, max_size=8))
def test_every_conflict_is_ordered(pairs: list[tuple[Region, Region]]) -> None:
    commands = [Command("vector", "", (read,), (write,), Copy()) for read, write in pairs]
    after: list[set[int]] = []
    for found in dependences(commands):
        after.append(set(found).union(*(after[index] for index in found)) if found else set())
    for late, command in enumerate(commands):
        for early in range(late):
            other = commands[early]
            wrote, reads, writes = (
                bytes_of(region) for region in (other.writes[0], command.reads[0], command.writes[0])
            )
            if wrote & (reads | writes) or bytes_of(other.reads[0]) & writes:
                assert early in after[late]


def closure(listed: list[tuple[int, ...]], queues: list[int]) -> list[set[int]]:
    """All that each command follows, in the end, where those of a queue follow one another."""
    after: list[set[int]] = []
    for index, found in enumerate(listed):
        same_queue = [other for other in range(index) if queues[other] == queues[index]]
        direct = {*found, *same_queue}
        after.append(direct.union(*(after[other] for other in direct)))
    return after


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(regions(), regions(), st.integers(0, 2)), min_size=2, max_size=10))
def test_of_each_queue_the_last_one_is_told(entries: list[tuple[Region, Region, int]]) -> None:
    commands = [Command("vector", "", (read,), (write,), Copy()) for read, write, _ in entries]
    queues = [queue for _, _, queue in entries]
    told = dependences(commands, queues)
    assert closure(told, queues) == closure(dependences(commands), queues)
    assert all(len({queues[other] for other in found}) == len(found) for found in told)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(regions(), regions(), st.integers(0, 3)), min_size=2, max_size=12))
def test_nothing_is_told_that_follows_from_the_rest(entries: list[tuple[Region, Region, int]]) -> None:
    """Each must be told: without it some command would not follow all that it has to."""
    commands = [Command("vector", "", (read,), (write,), Copy()) for read, write, _ in entries]
    queues = [queue for _, _, queue in entries]
    told = dependences(commands, queues)
    whole = closure(told, queues)
    for late, found in enumerate(told):
        for each in found:
            without = [*told[:late], tuple(other for other in found if other != each), *told[late + 1 :]]
            assert closure(without, queues) != whole


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(regions(), min_size=2, max_size=4), st.data())
def test_what_is_read_again_is_ordered_as_if_it_were_read_first(pool: list[Region], data: st.DataObject) -> None:
    """The same few regions again and again, most often read."""
    places = st.integers(0, len(pool) - 1)
    entry = st.tuples(places, st.none() | st.none() | places, st.integers(0, 2))
    entries = data.draw(st.lists(entry, min_size=4, max_size=24))
    commands = [
        Command("vector", "", (pool[read],), () if write is None else (pool[write],), Copy())
        for read, write, _ in entries
    ]
    queues = [queue for _, _, queue in entries]
    told = closure(dependences(commands, queues), queues)
    assert told == closure(dependences(commands), queues)
    for late, command in enumerate(commands):
        for early, other in enumerate(commands[:late]):
            touched = set[int]().union(*(bytes_of(each) for each in (*command.reads, *command.writes)))
            wrote = set[int]().union(*(bytes_of(each) for each in other.writes))
            if wrote & touched or any(bytes_of(other.reads[0]) & bytes_of(each) for each in command.writes):
                assert early in told[late]


def test_a_read_is_not_forgotten_where_its_cell_is_cut() -> None:
    """Rows written by two engines, read whole, and written again after a write behind them has cut the cell in two."""

    def move(read: Region, write: Region) -> Command:
        return Command("vector", "", (read,), (write,), Copy())

    def rows(first: int, stop: int) -> Region:
        return Region("sram", 13 * first, (8, stop - first, 13), (169, 13, 1), 8)

    dram, out = (Region("dram", offset, (8, 13, 13), (169, 13, 1), 8) for offset in (0, 8192))
    behind = Region("sram", 1400, (64,), (1,), 8)
    start = [move(dram, Region("sram", 0, (4096,), (1,), 8))]
    again = [move(dram, rows(1, 13)), move(dram, rows(0, 1)), move(rows(0, 13), out)]
    commands = [*start, *again, move(dram, behind), move(dram, rows(0, 1)), move(dram, rows(1, 13)), again[-1]]
    queues = [0, 1, 2, 3, 0, 2, 1, 3]
    found = dependences(commands, queues)
    assert 3 in found[5]
    assert 3 in found[6]


def test_what_is_told_does_not_grow_with_the_history() -> None:
    def tiles(base: int) -> list[Region]:
        return [Region("sram", base + 16 * row, (4, 2, 8), (64, 8, 1), 8) for row in range(4)]

    commands = [
        Command("vector", "", (read,), (write,), Copy())
        for layer in range(200)
        for read, write in zip(tiles(256 * (layer % 2)), tiles(256 * ((layer + 1) % 2)), strict=True)
    ]
    assert max(len(found) for found in dependences(commands)) <= 4


def test_what_is_read_in_several_rows_and_written_row_by_row_is_forgotten() -> None:
    """A buffer in which rows move up, chunk of channels by chunk: no write covers all that a reader of three rows has read."""
    whole = Region("sram", 0, (48, 3, 8), (24, 8, 1), 8)

    def part(chunk: int, first: int, last: int) -> Region:
        return box(whole, (8 * chunk, 8 * chunk + 8), (first, last))

    def command(read: Region, write: Region) -> Command:
        return Command("vector", "", (read,), (write,), Copy())

    other = Region("sram", 4096, (8, 3, 8), (24, 8, 1), 8)
    commands = [command(other, part(chunk, 0, 3)) for chunk in range(6)]
    for _ in range(100):
        for chunk in range(6):
            commands.append(command(part(chunk, 0, 3), other))
            commands.append(command(part(chunk, 1, 3), part(chunk, 0, 2)))
            commands.append(command(box(other, None, (0, 1)), part(chunk, 2, 3)))
    history, spots = History(), dict[Region, Spot]()
    found = []
    for index, each in enumerate(commands):
        step = Step(index, index, None)
        for regions, is_write in ((each.reads, False), (each.writes, True)):
            for region in regions:
                history.follow(spots.setdefault(region, Spot(region)), step, is_write)
        found.append(len(step.found))
    half = len(found) // 2
    assert max(found[half:]) <= max(found[:half]) < 250
