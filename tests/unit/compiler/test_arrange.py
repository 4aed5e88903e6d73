"""Addresses: legal, within the sram where that can be, and not used again at once wherever there is room."""

import msgspec
import numpy as np
import pytest

from nas.compiler.opt.memory.arrange import arranged
from nas.compiler.opt.memory.prefetch import lifetimes
from nas.hw.load import find_processor
from nas.ir.command import Command, Copy, Load
from nas.ir.tensor import dense

EDGE_NPU = find_processor("edge_npu")
PLAIN = frozenset(["prefetch", "compact", "colour"])


def copy(source: str, target: str, size: int) -> Command:
    return Command("vector", "l", (dense(source, 0, (size,), 8),), (dense(target, 0, (size,), 8),), Copy())


def load(target: str, size: int) -> Command:
    return Command("dma_in", "l", (dense("dram", 0, (size,), 8),), (dense(target, 0, (size,), 8),), Load())


def addresses(commands, sizes, capacity_bytes):
    """Of each buffer, with the peak."""
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=capacity_bytes)
    processor = msgspec.structs.replace(EDGE_NPU, sram=sram)
    arrangement = arranged(commands, sizes, processor, PLAIN)
    placed, peak_bytes = arrangement.placed(), arrangement.peak_bytes
    found = {}
    for before, after in zip(commands, placed, strict=True):
        for named, region in zip((*before.reads, *before.writes), (*after.reads, *after.writes), strict=True):
            assert found.setdefault(named.memory, region.offset_bytes) == region.offset_bytes
    return found, peak_bytes


@pytest.mark.parametrize("seed", range(30))
def test_what_lives_at_the_same_time_lies_apart(seed):
    generator = np.random.default_rng(seed)
    names = [f"b{number}" for number in range(40)]
    sizes = {name: 64 * int(generator.integers(1, 9)) for name in names}
    steps = [int(step) for step in generator.integers(1, 6, len(names))]
    commands = [copy(names[max(0, i - steps[i])], names[i], 64) for i in range(1, len(names))]
    spans = lifetimes(commands, sizes)
    most = max(
        sum(sizes[name] for name, (first, last) in spans.items() if first <= now <= last) for now in range(len(names))
    )
    enough = 64 * 9 * len(names)
    for capacity_bytes in (most + 64 * int(generator.integers(0, 20)), enough):
        found, peak_bytes = addresses(commands, sizes, capacity_bytes)
        for one, (first, last) in spans.items():
            assert found[one] + sizes[one] <= peak_bytes
            for other, (begins, ends) in spans.items():
                if one < other and first <= ends and begins <= last:
                    assert found[one] + sizes[one] <= found[other] or found[other] + sizes[other] <= found[one]
        assert most <= peak_bytes
        assert peak_bytes <= capacity_bytes or capacity_bytes < enough


def test_one_full_place_does_not_take_the_room_from_all_others():
    """Two buffers fill the chip for once; in the chain of small ones before, no address comes again within four commands."""
    chain = [copy(f"s{i}", f"s{i + 1}", 64) for i in range(40)]
    full = [copy("s40", "large", 64), copy("large", "other", 64), copy("other", "end", 64)]
    sizes = {f"s{i}": 64 for i in range(41)} | {"large": 448, "other": 512, "end": 64}
    found, peak_bytes = addresses([*chain, *full], sizes, 1024)
    assert peak_bytes <= 1024
    assert all(found[f"s{i}"] != found[f"s{i + step}"] for i in range(36) for step in (1, 2, 3, 4))


@pytest.mark.parametrize(("capacity_bytes", "is_first"), [(16384, True), (4096, False)])
def test_loads_come_as_early_as_is_worth_looking_for(capacity_bytes: int, is_first: bool) -> None:
    """300 commands ahead where the chip holds a quarter of all that is loaded, and 64 where it does not."""
    chain = [copy(f"s{i}", f"s{i + 1}", 64) for i in range(300)]
    loads = [load(f"w{i}", 512) for i in range(64)]
    uses = [copy(f"w{i}", "s300", 64) for i in range(64)]
    pairs = [each for pair in zip(loads, uses, strict=True) for each in pair]
    sizes = {f"s{i}": 64 for i in range(301)} | {f"w{i}": 512 for i in range(64)}
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=capacity_bytes)
    processor = msgspec.structs.replace(EDGE_NPU, sram=sram)
    found = arranged([*chain, *pairs], sizes, processor, frozenset()).commands
    assert found.index(loads[0]) == 0 if is_first else 300 - 64 <= found.index(loads[0]) < 300
