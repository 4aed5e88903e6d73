"""Colouring: fewer bank conflicts, never a slower program, never two buffers in one place."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.front_end.lower import network_of
from nas.compiler.memo import Memo
from nas.compiler.opt.memory.alloc import Allocation
from nas.compiler.opt.memory.colour import colour, faster, may_conflict, timed
from nas.compiler.opt.memory.prefetch import lifetimes
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.pipeline import parallelise
from nas.core.errors import DoesNotFit
from nas.hw.load import find_processor
from nas.ir.command import Command, Copy, Eltwise, Load, Store, Tail
from nas.ir.tensor import Format, dense
from nas.sim.parallel import simulate_parallel
from tests.networks import RandomNetwork

EDGE_NPU = find_processor("edge_npu")


def narrow(kib=64, banks=8, pages=4, port_bytes=8):
    """So few ports that a command and what runs beside it need several pages."""
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=kib << 10, banks=banks, pages=pages, port_bytes=port_bytes)
    return msgspec.structs.replace(EDGE_NPU, sram=sram)


def adds(count, size=512):
    """Sums of two buffers each, loaded before and stored behind."""
    form = Format(8, "code", 1.0, 1, 0, 255)
    commands, sizes = [], {}
    for index in range(count):
        names = [f"{part}{index}" for part in "abc"]
        regions = [dense(name, 0, (size, 1, 1), 8) for name in names]
        homes = [dense("dram", (3 * index + place) * size, (size, 1, 1), 8) for place in range(3)]
        sizes |= dict.fromkeys(names, size)
        commands += [Command("dma_in", "l", (homes[place],), (regions[place],), Load()) for place in (0, 1)]
        commands.append(
            Command("vector", "l", tuple(regions[:2]), (regions[2],), Eltwise(form, Tail(output=form, add=form)))
        )
        commands.append(Command("dma_out", "l", (regions[2],), (homes[2],), Store()))
    return commands, sizes


def side_by_side(commands, sizes):
    """One buffer behind the other, all in the first page if it is large enough."""
    offsets, end = {}, 0
    for name, size in sizes.items():
        offsets[name], end = end, end + size
    return Allocation(offsets, end)


def assert_apart(commands, sizes, allocation, capacity_bytes):
    spans = lifetimes(commands, sizes)
    for one, (first, last) in spans.items():
        start, end = allocation.offsets[one], allocation.offsets[one] + sizes[one]
        assert start >= 0 and end <= allocation.peak_bytes <= capacity_bytes
        for other, (begins, ends) in spans.items():
            if one < other and first <= ends and begins <= last:
                there = allocation.offsets[other]
                assert end <= there or there + sizes[other] <= start, (one, other)


def test_operands_of_one_page_get_pages_of_their_own():
    processor = narrow(port_bytes=16)  # 32 bytes a cycle and page, 32 lanes
    commands, sizes = adds(1)
    before = timed(commands, side_by_side(commands, sizes), processor, Memo())
    after = colour(before, sizes, processor, Memo())
    assert may_conflict(commands, processor)
    # The sum goes three times as far through one page: 48 cycles instead of 18.
    assert before.trace.conflict_cycles == 30
    assert after.trace.conflict_cycles == 0
    assert after.trace.cycles == before.trace.cycles - 30
    assert_apart(commands, sizes, after.allocation, processor.sram.size_bytes)


def test_where_nothing_can_conflict_all_stays_where_it_is():
    commands, sizes = adds(2)
    allocation = side_by_side(commands, sizes)
    one_page = narrow(pages=1, port_bytes=16)
    assert not may_conflict(commands, one_page)
    wide = narrow(port_bytes=256)
    assert not may_conflict(commands, wide)
    before = timed(commands, allocation, wide, Memo())
    assert colour(before, sizes, wide, Memo()) is before


def test_a_copy_of_less_room_is_kept_unless_the_gain_is_worth_it():
    processor = narrow(port_bytes=16)
    copy = Command("vector", "l", (dense("a", 0, (64,), 8),), (dense("b", 0, (64,), 8),), Copy())
    here = timed([copy], Allocation({"a": 0, "b": 64}, 128), processor, Memo())
    there = timed([copy], Allocation({"a": 0, "b": 128}, 192), processor, Memo())
    assert faster(here, there) is here and faster(there, here) is there
    trace = msgspec.structs.replace(there.trace, cycles=there.trace.cycles - 1)
    assert faster(here, replace(there, trace=trace)).trace is trace


@pytest.fixture(scope="module")
def pairs():
    """Programs of random networks with and without colours, and their processors."""
    found = []
    for seed in range(11):
        processor = narrow(kib=(16, 64, 256)[seed % 3], pages=(2, 4, 8)[seed // 3 % 3])
        network = network_of(RandomNetwork(np.random.default_rng(seed)), ((1, 3, 16, 16),))
        try:
            plain, _ = optimise(network, processor, frozenset({"colour"}))
        except DoesNotFit:
            continue
        found.append((plain, optimise(network, processor)[0], processor))
    return found


def test_a_coloured_program_is_legal_never_slower_and_sometimes_faster(pairs):
    """Conflicts may be more where the time is less: on 44 networks and processors of the bench they never were."""
    gains = []
    for plain, coloured, processor in pairs:
        raise_findings(check_program(coloured, processor), "coloured")
        assert coloured.used_bytes["sram"] <= processor.sram.size_bytes
        cycles = [simulate_parallel(parallelise(each), processor).cycles for each in (plain, coloured)]
        gains.append(cycles[0] - cycles[1])
    assert len(gains) > 8
    assert min(gains) >= 0
    assert sum(gain > 0 for gain in gains) >= 3
