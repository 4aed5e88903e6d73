"""The parallel simulator against one that goes cycle by cycle and byte by byte, and shares no code with it.

Queues, tokens, latencies, the dram's bandwidth and the pages' ports all at once, on several cores. A share of the bandwidth is a fraction
here and a whole number of parts of a byte there; what a command takes alone is asked of `nas.timing`.
"""

import itertools
from fractions import Fraction

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.hw.spec import Dram, Energies, Host, Matrix, Processor, Sram, Vector
from nas.ir.command import Command, Copy, Load, Matmul, Store
from nas.ir.cores import on_core, queue_name
from nas.ir.par_program import ParProgram, Step
from nas.ir.tensor import dense
from nas.sim.parallel import simulate_parallel
from nas.timing.cycles import command_cycles

SRAM_BYTES, BYTE = 2048, 256  # parts of a byte that ports count in
BASE = Processor(
    "small", 1e9, 2, Dram(1 << 16, 3e9, 7e-9), Sram(SRAM_BYTES, 4, 4), Matrix(8, 8), Vector(8), Host(1e9, 1e-6),
    Energies("made up", 1.0, 2.0, 3.0, 10.0, 100.0, 0.5), cores=2,
)  # fmt: skip
ENGINES = ("dma_in", "dma_in", "dma_out", "dma_out", "matrix", "vector")


def command(engine, size, address, other):
    near, home = dense("sram", address, (size,), 8), dense("dram", address, (size,), 8)
    if engine == "dma_in":
        return Command(engine, "l", (home,), (near,), Load())
    if engine == "dma_out":
        return Command(engine, "l", (near,), (home,), Store())
    if engine == "vector":
        return Command(engine, "l", (near,), (dense("sram", other, (size,), 8),), Copy())
    rows, weights = dense("sram", address // 4 * 4, (1 + size // 16, 4), 32), dense("sram", other // 4 * 4, (4, 4), 32)
    return Command(engine, "l", (rows, weights), (rows,), Matmul())


def random_program(generator):
    """Queues of commands on two cores, with tokens from earlier commands to later ones."""
    count, queues = generator.randint(2, 16), {}
    waits, signals = [[] for _ in range(count)], [[] for _ in range(count)]
    for token in range(generator.randint(0, count // 2)):
        first, second = sorted(generator.sample(range(count), 2))
        signals[first].append(token)
        waits[second].append(token)
    for waited, signalled in zip(waits, signals, strict=True):
        made = command(
            generator.choice(ENGINES), *(generator.randint(*ends) for ends in ((1, 300), (0, 1500), (0, 1500)))
        )
        core = generator.randint(0, 1)
        step = Step(on_core(made, core), tuple(waited), tuple(signalled))
        queues.setdefault(queue_name(made.engine, core), []).append(step)
    return ParProgram("p", "small", (), (), (), {name: tuple(steps) for name, steps in queues.items()}, {})


def random_processor(generator):
    dram = Dram(1 << 16, generator.choice([0.3e9, 1e9, 3e9, 7.7e9]), generator.randint(0, 20) * 1e-9)
    sram = Sram(SRAM_BYTES, 4, generator.randint(1, 8), generator.choice([1, 2, 4]))
    return msgspec.structs.replace(BASE, issue_cycles=generator.randint(0, 3), dram=dram, sram=sram)


class Running:
    """A step under way: the cycle it began, what is to come of it, and of its bytes in each page."""

    def __init__(self, step, processor, now):
        self.command, self.start = step.command, now
        self.cycles = command_cycles(step.command, processor)
        self.moves = isinstance(step.command.attributes, Load | Store)
        self.is_store = isinstance(step.command.attributes, Store)
        self.pages = [0] * processor.sram.page_count
        for region in (*step.command.reads, *step.command.writes):
            if region.memory.startswith("sram"):
                size = region.bits // 8
                for axis in region.shape:
                    size *= axis
                for address in range(region.offset_bytes, region.offset_bytes + size):
                    self.pages[address * processor.sram.page_count // SRAM_BYTES] += BYTE
        if self.moves:
            self.flows_at = now + processor.issue_cycles + round(processor.dram.latency_s * 1e9)
            self.left = Fraction(sum(self.pages), BYTE)
        else:
            busy = max(1, self.cycles - processor.issue_cycles)
            self.paces = [-(-parts // busy) for parts in self.pages]
            self.served = now

    def is_over(self, now, processor):
        if self.moves:
            return now >= self.flows_at and not self.left
        done = not any(self.pages) and now >= self.served + processor.issue_cycles
        return done and now >= self.start + self.cycles


def cycle_by_cycle(program, processor):
    """(start, end) of each step of each queue."""
    spans, running = {name: [] for name in program.queues}, {}
    signalled = set()
    now = 0
    while any(len(spans[name]) < len(steps) for name, steps in program.queues.items()):
        changed = True
        while changed:
            changed = False
            for name, steps in program.queues.items():
                if name in running and running[name].is_over(now, processor):
                    step = steps[len(spans[name])]
                    spans[name].append((running.pop(name).start, now))
                    signalled.update(step.signals)
                    changed = True
            for name, steps in program.queues.items():
                if name not in running and len(spans[name]) < len(steps):
                    step = steps[len(spans[name])]
                    if signalled.issuperset(step.waits):
                        running[name] = Running(step, processor, now)
                        changed = True
        flowing = [each for each in running.values() if each.moves and now >= each.flows_at]
        rest = Fraction(round(processor.dram.bandwidth_bytes_per_s), 10**9)
        ported = [(name[-1] == "1", each) for name, each in running.items()]
        serve_ports(ported, flowing, processor, now)
        for is_store in (True, False):
            rest = share([each for each in flowing if each.is_store == is_store], rest)
        now += 1
    return spans


def share(transfers, rest):
    """Equal parts for all, what some do not need for the others; what nobody needs."""
    waiting = [each for each in transfers if each.left]
    while waiting and rest:
        part = min(rest / len(waiting), *(each.left for each in waiting))
        for each in waiting:
            each.left -= part
        rest -= part * len(waiting)
        waiting = [each for each in waiting if each.left]
    return rest


def serve_ports(running, flowing, processor, now):
    """One cycle of each page's ports: transfers, then the matrix engine, then the vector engine."""
    brought = -(-round(processor.dram.bandwidth_bytes_per_s) * BYTE // 10**9)
    for core, page in itertools.product((False, True), range(processor.sram.page_count)):
        mine = [each for of, each in running if of == core]
        taken = sum(-(-brought * each.pages[page] // sum(each.pages)) for each in mine if each in flowing)
        free = max(BYTE, processor.sram.page_port_bytes * BYTE - min(brought, taken))
        for each in sorted((each for each in mine if not each.moves), key=lambda each: each.command.engine):
            part = min(free, each.paces[page], each.pages[page])
            each.pages[page] -= part
            free -= part
            if part and not each.pages[page]:
                each.served = max(each.served, now + 1)


def assert_equal(program, processor):
    trace = simulate_parallel(program, processor)
    spans = {name: [] for name in program.queues}
    for span in trace.spans:
        spans[span.engine].append((span.start_cycles, span.end_cycles))
    assert spans == cycle_by_cycle(program, processor)


@given(st.randoms(use_true_random=True))
@settings(max_examples=100, deadline=None)
def test_every_step_begins_and_ends_when_it_does_cycle_by_cycle(generator):
    assert_equal(random_program(generator), random_processor(generator))
