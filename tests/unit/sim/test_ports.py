"""Bank conflicts against a simulation of every cycle, byte by byte, that shares no code with the model."""

import heapq
from dataclasses import dataclass, field

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nas.hw.spec import Dram, Energies, Host, Matrix, Processor, Sram, Vector
from nas.ir.command import Command, Copy, Eltwise, Load, Store, Tail
from nas.ir.cores import on_core
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Program
from nas.ir.tensor import Format, Region, dense
from nas.sim.layers import layer_rows
from nas.sim.pages import bytes_by_page, own_cycles
from nas.sim.parallel import simulate_parallel
from nas.sim.ports import Ports
from nas.sim.sequential import simulate
from nas.timing.cycles import command_cycles
from nas.timing.price import Price, command_price

PAGE_BYTES, PAGES, PORT_BYTES, DRAM_BYTES, ISSUE = 256, 4, 8, 3, 2
# 8 bytes a cycle and page; the dram brings 3.
SMALL = Processor(
    "small", 1e9, ISSUE, Dram(1 << 20, DRAM_BYTES * 1e9, 10e-9), Sram(PAGES * PAGE_BYTES, 8, 4, PAGES), Matrix(8, 8),
    Vector(16), Host(1e9, 1e-6), Energies("made up", 1.0, 2.0, 3.0, 10.0, 100.0, 0.5),
)  # fmt: skip


@dataclass
class Job:
    """A command of one engine, `gap` cycles behind the one before it. runs: (address, bytes) of each operand."""

    gap: int
    cycles: int
    runs: tuple[tuple[int, int], ...]
    left: list[int] = field(default_factory=list)
    start: int = 0

    def command(self, engine):
        regions = tuple(dense("sram", start, (size,), 8) for start, size in self.runs)
        return Command(engine, "l", regions[:-1], regions[-1:], Copy())

    def price(self):
        return Price(self.cycles + ISSUE, 0, 0, sum(size for _, size in self.runs), 0, 0.0)

    def counted(self):
        pages = [0] * PAGES  # in 256ths of a byte
        for start, size in self.runs:
            for address in range(start, start + size):
                pages[address // PAGE_BYTES] += 256
        return pages


runs = st.tuples(st.integers(0, 700), st.integers(1, 300))
jobs = st.lists(
    st.builds(Job, st.integers(0, 30), st.integers(1, 40), st.lists(runs, min_size=1, max_size=3).map(tuple)),
    max_size=5,
)
transfers = st.lists(st.tuples(st.integers(0, 150), st.integers(1, 60), runs), max_size=4)


def by_the_model(engines, flows):
    """The ends of the jobs of each engine, as `Ports` foretells them."""
    ports, ends, expected, events = Ports(SMALL), [[] for _ in engines], {}, []
    heads = [0 for _ in engines]

    def push(cycle, rank, *what):
        heapq.heappush(events, (cycle, rank, len(events) + len(expected), what))

    for index, (start, length, (address, size)) in enumerate(flows):
        push(start, 1, "flow", 10 + index, Command("dma_in", "l", (), (dense("sram", address, (size,), 8),), Load()))
        push(start + length, 0, "stop", 10 + index, None)
    for engine, queue in enumerate(engines):
        if queue:
            push(queue[0].gap, 2 + engine, "begin", engine, None)
    while events:
        now, _, _, (kind, key, command) = heapq.heappop(events)
        changed = []
        if kind == "flow":
            changed = ports.flow(key, command, now)
        elif kind == "stop":
            changed = ports.stop(key, now)
        elif kind == "begin":
            job = engines[key][heads[key]]
            changed = ports.begin(key, job.command(("matrix", "vector")[key]), job.price(), now)
        elif expected.get(key) == now:
            del expected[key]
            ends[key].append(now)
            heads[key] += 1
            changed = ports.finish(key, now)
            if heads[key] < len(engines[key]):
                push(now + engines[key][heads[key]].gap, 2 + key, "begin", key, None)
        for cycle, engine in changed:
            assert cycle >= now
            expected[engine] = cycle
            push(cycle, 0, "end", engine, None)
    return ends


def cycle_by_cycle(engines, flows):
    """The same, every cycle by itself."""
    ends, running, now = [[] for _ in engines], [], 0
    begins = {engine: queue[0].gap for engine, queue in enumerate(engines) if queue}
    while begins or running:
        for engine, job in list(running):
            if now >= job.start + ISSUE + job.cycles and not any(job.left) and now >= job.served + ISSUE:
                running.remove((engine, job))
                ends[engine].append(now)
                if len(ends[engine]) < len(engines[engine]):
                    begins[engine] = now + engines[engine][len(ends[engine])].gap
        for engine in sorted(begins):
            if begins[engine] == now:
                job = engines[engine][len(ends[engine])]
                job.start, job.left, job.served = now, job.counted(), now
                job.pace = [-(-size // job.cycles) for size in job.left]
                running.append((engine, job))
                del begins[engine]
        for page in range(PAGES):
            taken = 0
            for start, length, (address, size) in flows:
                if start <= now < start + length:
                    here = sum(byte // PAGE_BYTES == page for byte in range(address, address + size))
                    taken += -(-DRAM_BYTES * 256 * here // size)
            free = PORT_BYTES * 256 - min(taken, DRAM_BYTES * 256)
            for _, job in sorted(running, key=lambda each: each[0]):
                part = min(free, job.pace[page], job.left[page])
                job.left[page] -= part
                free -= part
                if part and not job.left[page]:
                    job.served = max(job.served, now + 1)
        now += 1
    return ends


@given(st.tuples(jobs, jobs), transfers)
@settings(max_examples=400, deadline=None)
@example(([Job(0, 5, ((0, 200),))], [Job(3, 5, ((100, 100),)), Job(0, 9, ((0, 10),))]), [(7, 9, (0, 40))])
def test_ends_are_those_of_every_cycle_by_itself(engines, flows):
    assert by_the_model(engines, flows) == cycle_by_cycle(engines, flows)


def test_bytes_of_a_strided_region_are_spread_over_its_pages_and_none_is_lost():
    region = Region("sram", 200, (3, 7, 5), (100, 9, 1), 8)
    command = Command("vector", "l", (region,), (dense("sram", 1000, (3,), 8),), Copy())
    pages = bytes_by_page(command, SMALL.sram)
    assert sum(pages) == 3 * 7 * 5 + 3
    assert pages[3] == 3 and pages[2] == 0 and pages[0] == 105 * 56 // 259


def add(first, second, target):
    form = Format(8, "code", 1.0, 1, 0, 255)
    regions = [dense("sram", offset, (96, 1, 1), 8) for offset in (first, second, target)]
    return Command("vector", "l", tuple(regions[:2]), (regions[2],), Eltwise(form, Tail(output=form, add=form)))


def test_operands_of_one_page_hold_each_other_up_and_both_simulators_say_so():
    together, apart = add(0, 100, 0), add(0, 256, 512)
    price = command_price(together, SMALL)
    assert command_price(apart, SMALL) == price
    assert price.cycles == command_cycles(together, SMALL) == ISSUE + 9  # 288 bytes through all 32 a cycle
    assert own_cycles(together, price, SMALL) == ISSUE + 36  # through the 8 of a page
    assert own_cycles(apart, price, SMALL) == ISSUE + 12
    for command, cycles in ((together, ISSUE + 36), (apart, ISSUE + 12)):
        alone = simulate(Program("p", "small", "opt", (), (), (), (), (), (command,), {}), SMALL)
        queues = {"vector": (Step(command),)}
        assert simulate_parallel(ParProgram("p", "small", (), (), (), queues, {}), SMALL) == alone
        assert (alone.cycles, alone.conflict_cycles) == (cycles, cycles - price.cycles)
        assert layer_rows(alone, SMALL)[0].bound == "sram"
        assert layer_rows(alone, SMALL)[0].conflict_cycles == cycles - price.cycles


def test_engines_that_share_a_page_hold_each_other_up_and_those_of_other_cores_do_not():
    drained = Command("dma_out", "l", (dense("sram", 0, (90,), 8),), (dense("dram", 0, (90,), 8),), Store())
    queues = {"vector": (Step(add(0, 256, 512)),), "dma_out": (Step(drained),)}
    lone = ParProgram("p", "small", (), (), (), {"vector": queues["vector"]}, {})
    no_latency = msgspec.structs.replace(SMALL, dram=Dram(1 << 20, DRAM_BYTES * 1e9, 0.0), issue_cycles=0)
    alone = simulate_parallel(lone, no_latency).cycles
    trace = simulate_parallel(ParProgram("p", "small", (), (), (), queues, {}), no_latency)
    held_up = next(span for span in trace.spans if span.engine == "vector")
    # 96 bytes of page 0 at 5 a cycle instead of 8, while the store takes 3 for 30 cycles.
    assert (alone, held_up.end_cycles) == (12, 20)
    moved = {"vector1": (Step(on_core(add(0, 256, 512), 1)),), "dma_out": queues["dma_out"]}
    two_cores = msgspec.structs.replace(no_latency, cores=2)
    apart = simulate_parallel(ParProgram("p", "small", (), (), (), moved, {}), two_cores)
    assert next(span for span in apart.spans if span.engine == "vector1").end_cycles == alone


def test_more_ports_are_never_slower_in_the_sequential_form():
    command = add(0, 100, 200)
    program = Program("p", "small", "opt", (), (), (), (), (), (command,), {})
    cycles = [
        simulate(program, msgspec.structs.replace(SMALL, sram=Sram(PAGES * PAGE_BYTES, 8, width, pages))).cycles
        for pages in (8, 4, 2, 1)
        for width in (1, 2, 4, 64)
    ]
    for start in range(0, 16, 4):
        assert cycles[start : start + 4] == sorted(cycles[start : start + 4], reverse=True)
    assert all(fine >= coarse for fine, coarse in zip(cycles, cycles[4:], strict=False))
