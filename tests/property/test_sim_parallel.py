"""The parallel simulator on random programs with random tokens: bounds that hold for any of them."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.hw.spec import Dram, Energies, Host, Matrix, Processor, Sram, Vector
from nas.ir.command import Command, Copy, Load, Matmul, Store
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Program
from nas.ir.tensor import dense
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.timing.cycles import command_cycles, transfer_cycles

BASE = Processor(
    "small", 1e9, 3, Dram(1 << 20, 3.3e9, 10e-9), Sram(1 << 16, 4, 8), Matrix(8, 8), Vector(2), Host(1e9, 1e-6),
    Energies("made up", 1.0, 2.0, 3.0, 10.0, 100.0, 0.5),
)  # fmt: skip


def command(engine, size):
    home, local = dense("dram", 0, (size,), 8), dense("sram", 0, (size,), 8)
    if engine == "dma_in":
        return Command(engine, "l", (home,), (local,), Load())
    if engine == "dma_out":
        return Command(engine, "l", (local,), (home,), Store())
    if engine == "vector":
        return Command(engine, "l", (local,), (local,), Copy())
    rows = dense("sram", 0, (size, 4), 32)
    return Command(engine, "l", (rows, dense("sram", 0, (4, 4), 32)), (rows,), Matmul())


@st.composite
def programs(draw):
    """A legal order of commands, and the queues it falls into with tokens from earlier commands to later ones."""
    engines = st.sampled_from(["dma_in", "dma_out", "matrix", "vector"])
    order = draw(st.lists(st.tuples(engines, st.integers(1, 400)), min_size=1, max_size=14))
    commands = [command(engine, size) for engine, size in order]
    waits, signals = [[] for _ in commands], [[] for _ in commands]
    pairs = draw(st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=14))
    for token, (a, b) in enumerate(pairs):
        first, second = min(a, b), max(a, b)
        if first < second < len(commands):
            signals[first].append(token)
            waits[second].append(token)
    queues = {}
    for index, item in enumerate(commands):
        queues.setdefault(item.engine, []).append(Step(item, tuple(waits[index]), tuple(signals[index])))
    queues = {engine: tuple(steps) for engine, steps in queues.items()}
    program = Program("p", "small", "opt", (), (), (), (), (), tuple(commands), {})
    return program, ParProgram("p", "small", (), (), (), queues, {})


@given(programs())
@settings(max_examples=150, deadline=None)
def test_a_parallel_run_lies_between_its_bounds_and_keeps_its_promises(pair):
    program, par = pair
    trace = simulate_parallel(par, BASE)
    alone = simulate(program, BASE)
    assert simulate_parallel(par, BASE) == trace
    assert trace.cycles <= alone.cycles
    longest = max(sum(command_cycles(step.command, BASE) for step in queue) for queue in par.queues.values())
    assert trace.cycles >= max(longest, transfer_cycles(trace.dram_bytes, BASE))
    assert (trace.dram_bytes, trace.macs, trace.sram_bytes) == (alone.dram_bytes, alone.macs, alone.sram_bytes)

    spans = {engine: [span for span in trace.spans if span.engine == engine] for engine in par.queues}
    signalled = {}
    for engine, queue in par.queues.items():
        for step, span in zip(queue, spans[engine], strict=True):
            signalled |= dict.fromkeys(step.signals, span.end_cycles)
    for engine, queue in par.queues.items():
        free = 0
        for step, span in zip(queue, spans[engine], strict=True):
            # A step starts as soon as it may, and not before.
            assert span.ready_cycles == free
            assert span.start_cycles == max([free, *(signalled[token] for token in step.waits)])
            assert bool(span.wait_reason) == (span.start_cycles > span.ready_cycles)
            assert span.busy_cycles >= command_cycles(step.command, BASE)
            free = span.end_cycles


@given(programs(), st.sampled_from(["bandwidth", "latency", "lanes", "banks"]))
@settings(max_examples=100, deadline=None)
def test_a_better_processor_is_not_slower(pair, what):
    """The sequential form; the parallel one of compiled networks is in test_trends.py."""
    program, _ = pair
    better = {
        "bandwidth": {"dram": Dram(1 << 20, 6.7e9, 10e-9)},
        "latency": {"dram": Dram(1 << 20, 3.3e9, 0.0)},
        "lanes": {"vector": Vector(5)},
        "banks": {"sram": Sram(1 << 16, 8, 8)},
    }[what]
    assert simulate(program, msgspec.structs.replace(BASE, **better)).cycles <= simulate(program, BASE).cycles
