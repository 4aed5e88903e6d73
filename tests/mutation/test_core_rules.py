"""Two cores: a legal program is silent, and each way to break what holds between cores trips one rule of the checker."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from msgspec.structs import replace

from nas.check.parallel import check_par_program
from nas.hw.spec import MOST_CORES as MOST_CORES_OF_A_PROCESSOR
from nas.hw.spec import Processor
from nas.ir.command import Command, Load, Store
from nas.ir.cores import MOST_CORES, core_of_memory, engine_of_queue, on_core, queue_name, sram_name
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Binding, Program
from nas.ir.tensor import dense
from nas.ir.text import program_from_text, program_to_text
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values, run_values_parallel


@dataclass(frozen=True)
class TwoCores:
    processor: Processor
    program: Program
    par: ParProgram


def spread(program: Program, cores: list[int], tokens: list[tuple[int, int]]) -> ParProgram:
    """The commands on the queues of `cores`; a token from each command to the next one of its core, and `tokens`."""
    last: dict[int, int] = {}
    pairs = list(tokens)
    for index, core in enumerate(cores):
        if core in last:
            pairs.append((last[core], index))
        last[core] = index
    queues: dict[str, tuple[Step, ...]] = {}
    for index, (command, core) in enumerate(zip(program.commands, cores, strict=True)):
        waits = tuple(token for token, (_, waiter) in enumerate(pairs) if waiter == index)
        signals = tuple(token for token, (sender, _) in enumerate(pairs) if sender == index)
        name = queue_name(command.engine, core)
        queues[name] = (*queues.get(name, ()), Step(command, waits, signals))
    return ParProgram(
        program.name, program.processor, program.inputs, program.outputs, program.constants, queues, program.used_bytes
    )


@pytest.fixture(scope="module")
def two(legal) -> TwoCores:
    """A tile of `legal` on each core; then core 1 fetches what core 0 has stored, and stores it once more. Token 0."""
    program, (y,) = legal.program, legal.program.outputs
    copy, there = dense("dram", 704, (128,), 8), dense("sram1", 832, (128,), 8)
    mine = [*program.commands[:7]]
    theirs = [on_core(command, 1) for command in (*program.commands[:3], *program.commands[7:])]
    exchange = [
        Command("dma_in", "copy", (dense("dram", 448, (128,), 8),), (there,), Load()),
        Command("dma_out", "copy", (there,), (copy,), Store()),
    ]
    both = replace(
        program,
        outputs=(y, Binding("copy", copy, y.format)),
        commands=(*mine, *theirs, *exchange),
        used_bytes={"dram": 832, "sram": 800, "sram1": 960},
    )
    cores = [0] * len(mine) + [1] * (len(theirs) + 2)
    # What core 1 fetches lies in the channels' first rows of y, which both cores write.
    tokens = [(len(mine) - 1, len(mine) + len(theirs))]
    return TwoCores(replace(legal.processor, cores=2), both, spread(both, cores, tokens))


def moved(two: TwoCores, engine: str, memory: str) -> ParProgram:
    """What `engine` of core 1 touches on chip lies in `memory` instead."""
    steps = tuple(
        replace(
            step,
            command=replace(
                step.command,
                reads=tuple(replace(r, memory=memory) if r.memory == "sram1" else r for r in step.command.reads),
                writes=tuple(replace(r, memory=memory) if r.memory == "sram1" else r for r in step.command.writes),
            ),
        )
        for step in two.par.queues[engine]
    )
    return replace(two.par, queues={**two.par.queues, engine: steps})


def renamed(two: TwoCores, old: str, new: str) -> ParProgram:
    return replace(two.par, queues={new if name == old else name: steps for name, steps in two.par.queues.items()})


def without_exchange_token(two: TwoCores) -> ParProgram:
    queues = {
        name: tuple(
            Step(step.command, tuple(t for t in step.waits if t), tuple(t for t in step.signals if t)) for step in steps
        )
        for name, steps in two.par.queues.items()
    }
    return replace(two.par, queues=queues)


BROKEN: list[tuple[str, str, Callable[[TwoCores], ParProgram]]] = [
    ("queues", "a core that is not there", lambda two: renamed(two, "matrix1", "matrix2")),
    ("queues", "a core beyond all", lambda two: renamed(two, "matrix1", "matrix8")),
    ("queues", "core 0 by number", lambda two: renamed(two, "matrix", "matrix0")),
    ("own_sram", "an engine in the sram of core 0", lambda two: moved(two, "matrix1", "sram")),
    ("own_sram", "a transfer to a core that is not there", lambda two: moved(two, "dma_in1", "sram3")),
    ("memory", "a memory that is no core's", lambda two: moved(two, "dma_in1", "sram01")),
    ("used_bytes", "the sram of a core that is not there", lambda two: replace(two.par, used_bytes={"sram2": 8})),
    ("race", "an exchange without a token", without_exchange_token),
]


def test_two_cores_are_legal_and_give_the_values_of_the_sequence(two, legal) -> None:
    assert check_par_program(two.par, two.processor, two.program) == ()
    generator = np.random.default_rng(1)
    constants = {
        binding.name: generator.integers(0, 64, binding.region.payload_bytes).astype(np.uint8)
        for binding in two.program.constants
    }
    constants["table"] = generator.random((2, 4)).astype(np.float32).reshape(-1).view(np.uint8)
    inputs = {"x": generator.random((1, 4, 8, 8)).astype(np.float32)}
    expected = run_values(legal.program, constants, inputs)["y"]
    for seed in range(5):
        seen = run_values_parallel(two.par, constants, inputs, np.random.default_rng(seed))
        np.testing.assert_array_equal(seen["y"], expected)
    assert program_from_text(program_to_text(two.par)) == two.par
    trace = simulate_parallel(two.par, two.processor)
    assert {span.engine for span in trace.spans} == set(two.par.queues)
    assert any(span.wait_reason.startswith("dma_out: store") for span in trace.spans if span.engine == "dma_in1")


@pytest.mark.parametrize(("rule", "mutate"), [(r, m) for r, _, m in BROKEN], ids=[f"{r}: {n}" for r, n, _ in BROKEN])
def test_broken_programs_of_two_cores(rule: str, mutate: Callable[[TwoCores], ParProgram], two) -> None:
    findings = check_par_program(mutate(two), two.processor)
    assert {finding.rule for finding in findings} == {rule}


def test_names_of_cores() -> None:
    assert MOST_CORES == MOST_CORES_OF_A_PROCESSOR
    for core in range(MOST_CORES):
        assert engine_of_queue(queue_name("dma_in", core)) == ("dma_in", core)
        assert core_of_memory(sram_name(core)) == core
        assert queue_name("host", core) == "host"
    assert engine_of_queue("matrix8") == ("matrix8", 0)
    assert core_of_memory("dram") is None
    assert core_of_memory("sram8") is None
    assert core_of_memory("dram1") is None
