"""Loads move up as far as there is room: constants without limit, what the program stores itself no further than that store."""

import numpy as np

from nas.compiler.opt.memory.alloc import Allocation
from nas.compiler.opt.memory.prefetch import prefetch
from nas.ir.command import Command, Eltwise, Load, Store
from nas.ir.tensor import Region

SIZE = 64


def region(memory: str, offset_bytes: int = 0) -> Region:
    return Region(memory, offset_bytes, (SIZE,), (1,), 8)


def load(buffer: str, address: int) -> Command:
    return Command("dma_in", "", (region("dram", address),), (region(buffer),), Load())


def store(buffer: str, address: int) -> Command:
    return Command("dma_out", "", (region(buffer),), (region("dram", address),), Store())


def work(source: str, target: str) -> Command:
    return Command("vector", "", (region(source),), (region(target),), Eltwise())


# Addresses in dram: constants from 1000 on, what the program stores below.
COMMANDS = [
    load("a", 1000),
    work("a", "b"),
    store("b", 0),
    work("a", "c"),
    store("c", 128),
    work("a", "d"),
    work("a", "e"),
    load("b again", 0),
    load("weights", 1064),
    work("b again", "f"),
    work("weights", "f"),
]
BUFFERS = dict.fromkeys(("a", "b", "c", "d", "e", "b again", "weights", "f"), SIZE)


def order(capacity_bytes: int) -> list[str]:
    offsets = {name: place * SIZE for place, name in enumerate(BUFFERS)}
    commands, _ = prefetch(COMMANDS, BUFFERS, Allocation(offsets, len(BUFFERS) * SIZE), capacity_bytes, 64)
    assert sorted(map(id, commands)) == sorted(map(id, COMMANDS))
    return [command.writes[0].memory for command in commands]


def test_a_stored_map_comes_back_right_behind_its_store_and_constants_pass_it() -> None:
    expected = ["a", "weights", "b", "dram", "b again", "c", "dram", "d", "e", "f", "f"]
    assert order(len(BUFFERS) * SIZE) == expected


def test_two_maps_that_share_no_element_do_not_wait_for_each_other() -> None:
    """Two halves of the channels of one map in dram, row by row between each other."""
    halves = [Region("dram", offset, (4, 8), (16, 1), 8) for offset in (0, 8)]
    local = [Region(name, 0, (4, 8), (8, 1), 8) for name in ("x", "y", "z")]
    commands = [
        Command("dma_out", "", (local[0],), (halves[0],), Store()),
        Command("dma_out", "", (local[1],), (halves[1],), Store()),
        work("x", "y"),
        Command("dma_in", "", (halves[0],), (local[2],), Load()),
        work("z", "z"),
    ]
    sizes = {"x": SIZE, "y": SIZE, "z": SIZE}
    moved, allocation = prefetch(commands, sizes, Allocation({"x": 0, "y": 64, "z": 128}, 192), 192, 64)
    assert [commands.index(command) for command in moved] == [0, 3, 1, 2, 4]
    assert len(np.unique(list(allocation.offsets.values()))) == 3
