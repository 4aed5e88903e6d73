"""The clocks of both forms: totals, waits, shared bandwidth, deadlocks."""

import pytest

from nas.core.errors import ContractError
from nas.hw.spec import Dram, Energies, Host, Matrix, Processor, Sram, Vector
from nas.ir.command import Command, Copy, Load, Matmul, Store
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Program
from nas.ir.tensor import dense
from nas.sim.dram import SharedDram
from nas.sim.engine import Clock
from nas.sim.layers import layer_rows
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.timing.cycles import command_cycles

# 4 bytes a cycle from dram after 10 cycles, 1 element a cycle on the vector engine, no cycles for the issue.
SMALL = Processor(
    "small", 1e9, 0, Dram(1 << 20, 4e9, 10e-9), Sram(1 << 16, 4, 8), Matrix(8, 8), Vector(1), Host(1e9, 1e-6),
    Energies("made up", 1.0, 2.0, 3.0, 10.0, 100.0, 0.5),
)  # fmt: skip


def load(size_bytes, layer="a"):
    return Command(
        "dma_in", layer, (dense("dram", 0, (size_bytes,), 8),), (dense("sram", 0, (size_bytes,), 8),), Load()
    )


def store(size_bytes, layer="a"):
    return Command(
        "dma_out", layer, (dense("sram", 0, (size_bytes,), 8),), (dense("dram", 0, (size_bytes,), 8),), Store()
    )


def copy(elements, layer="a"):
    return Command("vector", layer, (dense("sram", 0, (elements,), 8),), (dense("sram", 0, (elements,), 8),), Copy())


def matmul(layer="a"):
    reads = (dense("sram", 0, (3, 8), 32), dense("sram", 0, (8, 8), 32))
    return Command("matrix", layer, reads, (dense("sram", 0, (3, 8), 32),), Matmul())


def sequential(*commands):
    return Program("tiny", "small", "opt", (), (), (), (), (), commands, {})


def parallel(**queues):
    return ParProgram("tiny", "small", (), (), (), queues, {})


def spans(trace):
    return [(s.engine, s.ready_cycles, s.start_cycles, s.end_cycles) for s in trace.spans]


def test_sequential_runs_one_command_at_a_time():
    trace = simulate(sequential(load(40), copy(7), store(8)), SMALL)
    assert spans(trace) == [("dma_in", 0, 0, 20), ("vector", 20, 20, 27), ("dma_out", 27, 27, 39)]
    assert trace.cycles == 39
    assert trace.latency_s == pytest.approx(39e-9)
    assert simulate(sequential(), SMALL).cycles == 0


@pytest.mark.parametrize("command", [load(123), store(5), copy(9), matmul()], ids=lambda command: command.op)
def test_a_single_command_takes_what_the_formula_says(command):
    expected = command_cycles(command, SMALL)
    assert simulate(sequential(command), SMALL).cycles == expected
    assert simulate_parallel(parallel(**{command.engine: (Step(command),)}), SMALL).cycles == expected


@pytest.mark.parametrize("commands", [[load(123), load(1), load(77)], [copy(9), copy(2)], [store(9), store(8)]])
def test_one_queue_alone_is_sequential(commands):
    queue = tuple(Step(command) for command in commands)
    together = simulate_parallel(parallel(**{commands[0].engine: queue}), SMALL)
    assert together == simulate(sequential(*commands), SMALL)


def test_stores_go_first_and_latency_uses_no_bandwidth():
    """By hand, 4 bytes a cycle: the load moves alone in 10-20 (40 bytes), then the store has its 60 bytes in 20-35, then
    the load its other 120 bytes in 35-65. The store starts after a copy of 10."""
    queues = {
        "vector": (Step(copy(10), (), (0,)),),
        "dma_in": (Step(load(160)),),
        "dma_out": (Step(store(60), (0,)),),
    }
    trace = simulate_parallel(parallel(**queues), SMALL)
    ends = {span.engine: (span.start_cycles, span.end_cycles) for span in trace.spans}
    assert ends == {"vector": (0, 10), "dma_in": (0, 65), "dma_out": (10, 35)}


def test_sharing_loses_no_byte():
    """The store ends in the middle of a cycle, whose rest the load gets, and the total is still what one transfer of all bytes takes."""
    trace = simulate_parallel(parallel(dma_in=(Step(load(41)),), dma_out=(Step(store(42)),)), SMALL)
    ends = {span.engine: span.end_cycles for span in trace.spans}
    assert ends == {"dma_in": 10 + 21, "dma_out": 10 + 11}
    assert trace.cycles == command_cycles(load(83), SMALL)


def test_three_transfers_get_a_third_each():
    dram = SharedDram(SMALL)
    for key, size_bytes in enumerate((40, 80, 120)):
        dram.begin(key, size_bytes, False, 0)
    assert sorted(dram.ends())[0] == (30, 0)
    dram.end(0, 30)
    assert sorted(dram.ends())[0] == (50, 1)
    dram.end(1, 50)
    assert dram.ends() == [(60, 2)]


def test_stores_of_a_length_end_together_and_the_load_has_what_is_left():
    """Bytes 30 and 30 at 4 a cycle: 15 cycles; the load's 4 bytes moved before in one cycle, its other 6 follow."""
    dram = SharedDram(SMALL)
    dram.begin(2, 10, False, 0)
    assert dram.ends() == [(3, 2)]
    for key in (0, 1):
        dram.begin(key, 30, True, 1)
    assert dram.ends() == [(16, 0), (16, 1)]
    for key in (0, 1):
        dram.end(key, 16)
    assert dram.ends() == [(18, 2)]


def test_waits_are_recorded_with_their_reason():
    queues = {
        "vector": (Step(copy(3)), Step(copy(5, "b"), (0, 1))),
        "dma_in": (Step(load(40), (), (0,)),),
        "matrix": (Step(matmul("m"), (), (1,)),),
    }
    trace = simulate_parallel(parallel(**queues), SMALL)
    waited = next(span for span in trace.spans if span.layer == "b")
    matmul_cycles = command_cycles(matmul(), SMALL)
    assert matmul_cycles > 20
    assert (waited.ready_cycles, waited.start_cycles, waited.wait_reason) == (3, matmul_cycles, "matrix: matmul of m")
    assert [span.wait_reason for span in trace.spans if span.layer != "b"] == ["", "", ""]


def test_a_deadlock_names_what_is_blocked():
    queues = {
        "dma_in": (Step(load(4)), Step(load(4, "b"), (1,), (0,))),
        "vector": (Step(copy(3, "c"), (0,), (1,)),),
    }
    with pytest.raises(
        ContractError, match=r"deadlock: dma_in\[1\] \(load of b\) waits for 1; vector\[0\] \(copy of c\)"
    ):
        simulate_parallel(parallel(**queues), SMALL)


def test_totals_are_the_sums_of_the_spans():
    program = sequential(load(40), matmul("m"), copy(7, "m"), store(8, "z"))
    trace = simulate(program, SMALL)
    rows = layer_rows(trace, SMALL)
    assert [row.layer for row in rows] == ["a", "m", "z"]
    assert sum(row.cycles for row in rows) == sum(span.busy_cycles for span in trace.spans) == trace.cycles
    assert sum(row.dram_bytes for row in rows) == trace.dram_bytes == 48
    assert sum(row.macs for row in rows) == trace.macs == 3 * 8 * 8
    assert sum(row.share for row in rows) == pytest.approx(1.0)
    assert sum(span.energy_pj for span in trace.spans) + 0.5 * 1e3 * trace.cycles == pytest.approx(trace.energy_pj)
    middle = rows[1]
    assert middle.busy_cycles == {"matrix": command_cycles(matmul(), SMALL), "vector": 7}
    assert middle.utilisation == 3 * 8 * 8 / (64 * middle.busy_cycles["matrix"])
    assert (rows[0].bound, middle.bound, middle.intensity) == ("dram", "compute", None)


def test_the_clock_keeps_the_order_of_cycle_priority_and_scheduling():
    clock = Clock()
    for cycle, priority, event in ((5, 0, "d"), (3, 1, "b"), (3, 0, "a"), (3, 1, "c")):
        clock.schedule(cycle, priority, event)
    assert [clock.next() for _ in range(5)] == ["a", "b", "c", "d", None]
    assert clock.now == 5
    with pytest.raises(ContractError, match="scheduled for cycle 4, it is cycle 5"):
        clock.schedule(4, 0, "late")
