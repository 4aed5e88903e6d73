"""Programs as the compiler makes them: legal as they are, and every mutant that can give other values is caught."""

from collections import Counter
from functools import cache

import msgspec
import numpy as np
import pytest

import models
from nas.check.command import COMMAND_RULES
from nas.check.parallel import check_par_program
from nas.check.sequential import check_program
from nas.compiler.driver import Compiled, compile_network
from nas.core.errors import ContractError
from nas.core.seeding import stream
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.command import Attributes, Command, Conv, Eltwise, Matmul, Pool
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Program
from nas.ir.tensor import Format
from nas.ir.text import program_from_text, program_to_text
from nas.sim.values import run_values, run_values_parallel
from tests.networks import random_arch

replace = msgspec.structs.replace
SEEDS = range(3)


def small_npu() -> Processor:
    """Little enough memory that networks are cut into tiles and buffers are used again."""
    processor = find_processor("edge_npu")
    return replace(processor, sram=replace(processor.sram, size_bytes=12 * 1024))


@cache
def compiled(seed: int) -> Compiled:
    """A random network, quantised or not; the drawn seeds fit the small memory."""
    arch = random_arch(stream(seed, "compiled programs"), quantised=seed % 2 == 0)
    result = compile_network(models.build(arch, seed), (1, 3, 16, 16), small_npu())
    assert isinstance(result, Compiled), result
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_no_alarm_is_raised(seed: int) -> None:
    it = compiled(seed)
    for program in (it.naive, it.optimised):
        assert check_program(program, it.processor) == ()
        assert check_program(program_from_text(program_to_text(program)), it.processor) == ()
    assert program_from_text(program_to_text(it.parallel)) == it.parallel
    assert check_par_program(it.parallel, it.processor, it.optimised) == ()
    assert check_par_program(it.parallel, it.processor) == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_token_it_is_a_race_or_the_same(seed: int) -> None:
    """The compiler sends the fewest tokens, so that nearly each one is missed."""
    it = compiled(seed)
    tokens = [token for steps in it.parallel.queues.values() for step in steps for token in step.signals]
    generator = stream(seed, "dropped tokens")
    chosen = generator.permutation(tokens)[:30].tolist()
    missed = 0
    for token in chosen:
        mutant = without(it.parallel, token)
        rules = {finding.rule for finding in check_par_program(mutant, it.processor, it.optimised)}
        assert rules <= {"race"}
        missed += not rules
        if not rules:
            assert same_values(it, mutant, generator)
    assert missed <= len(chosen) / 10


@pytest.mark.parametrize("seed", SEEDS)
def test_mutants_that_change_a_value_are_caught(seed: int) -> None:
    it = compiled(seed)
    generator = stream(seed, "mutants of compiled programs")
    changed = 0
    for _ in range(40):
        mutant = swapped(it.parallel, generator)
        if not same_values(it, mutant, generator):
            changed += 1
            assert check_par_program(mutant, it.processor, it.optimised) != ()
    assert changed


@pytest.mark.parametrize("seed", SEEDS)
def test_maps_where_others_lie_are_caught(seed: int) -> None:
    """A command reads at the address of what another layer made: bytes of some format that nobody else complains about."""
    it = compiled(seed)
    generator = stream(seed, "maps of other layers")
    by_whom: Counter[str] = Counter()
    for _ in range(60):
        mutant = elsewhere(it.optimised, generator)
        found = {finding.rule for finding in check_program(mutant, it.processor)}
        if not found and not equal(run_values(mutant, it.constants, inputs_of(it)), expected_of(it)):
            found = {"nobody"}  # another part of the same tensor
        by_whom.update(found)
        verdict = check_par_program(
            chain(mutant, list(mutant.commands)), it.processor, mutant, sequential_is_checked=False
        )
        assert bool(verdict) == bool(found - {"nobody"})
    assert by_whom["nobody"] < by_whom["own_operands"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reordered_sequence_is_held_against_the_first(seed: int) -> None:
    """As one long chain of tokens, a sequence in another order is legal only if no value changes."""
    it = compiled(seed)
    generator = stream(seed, "reordered")
    verdicts = set()
    for _ in range(30):
        commands = list(it.optimised.commands)
        first = int(generator.integers(len(commands) - 1))
        commands[first], commands[first + 1] = commands[first + 1], commands[first]
        verdict = check_par_program(chain(it.optimised, commands), it.processor, it.optimised)
        verdicts.add(bool(verdict))
        if not verdict:
            got = run_values(replace(it.optimised, commands=tuple(commands)), it.constants, inputs_of(it))
            assert equal(got, expected_of(it))
        else:
            assert {finding.rule for finding in verdict} <= {"order"}
    assert verdicts == {True, False}


@pytest.mark.parametrize("seed", SEEDS)
def test_broken_commands_of_every_kind_are_caught(seed: int) -> None:
    """One byte fewer, another width, another engine: no command of a real program survives it."""
    it = compiled(seed)
    names = {rule.name for rule in COMMAND_RULES}
    for index, command in enumerate(it.optimised.commands[:60]):
        target = command.writes[0]
        last = max(range(len(target.shape)), key=lambda axis: target.shape[axis])
        larger = tuple(size + (axis == last) for axis, size in enumerate(target.shape))
        for broken in (
            replace(command, engine="dma_out" if command.engine == "dma_in" else "dma_in"),
            replace(command, writes=(replace(target, shape=larger),)),
            replace(command, writes=(replace(target, bits=64),)),
            replace(command, reads=command.reads[:-1]),
        ):
            commands = (*it.optimised.commands[:index], broken, *it.optimised.commands[index + 1 :])
            findings = check_program(replace(it.optimised, commands=commands), it.processor)
            assert {finding.rule for finding in findings} <= names
            assert [finding.where for finding in findings] == [f"command {index} ({command.layer})"]


@pytest.mark.parametrize("seed", SEEDS)
def test_another_function_is_caught(seed: int) -> None:
    """What a command computes is held against the operators, and formats against each other."""
    it = compiled(seed)
    for index, command in enumerate(it.optimised.commands):
        for broken in other_functions(command.attributes):
            commands = list(it.optimised.commands)
            commands[index] = replace(command, attributes=broken)
            findings = check_program(replace(it.optimised, commands=tuple(commands)), it.processor)
            assert findings and findings[0].where == f"command {index} ({command.layer})"


def other_functions(attributes: Attributes) -> list[Attributes]:
    if isinstance(attributes, Pool):
        return [replace(attributes, kind="max" if attributes.kind == "mean" else "mean")]
    if not isinstance(attributes, Conv | Matmul | Eltwise):
        return []
    tail = attributes.tail
    tails = [replace(tail, activation="sigmoid"), replace(tail, high=tail.high + 1)]
    other = replace(attributes.input, scale=attributes.input.scale / 2) if attributes.input.is_code else Format(16)
    tails.append(replace(tail, output=other))
    broken: list[Attributes] = [replace(attributes, tail=each) for each in tails]
    if not isinstance(attributes, Eltwise) and attributes.weight.is_code:
        broken.append(replace(attributes, weight=replace(attributes.weight, offset=attributes.weight.offset + 1)))
    return broken


def inputs_of(it: Compiled) -> dict[str, np.ndarray]:
    return {"input": it.truth["input"]}


def expected_of(it: Compiled) -> dict[str, np.ndarray]:
    return run_values(it.optimised, it.constants, inputs_of(it))


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in other)


def same_values(it: Compiled, par: ParProgram, generator: np.random.Generator) -> bool:
    """Whether some random orders all give the values of the sequential program."""
    expected = expected_of(it)
    try:
        return all(equal(run_values_parallel(par, it.constants, inputs_of(it), generator), expected) for _ in range(2))
    except ContractError:  # a deadlock, or a step that waits for a token that nobody sends
        return False


def without(par: ParProgram, token: int) -> ParProgram:
    queues = {
        name: tuple(
            Step(
                step.command,
                tuple(other for other in step.waits if other != token),
                tuple(other for other in step.signals if other != token),
            )
            for step in steps
        )
        for name, steps in par.queues.items()
    }
    return replace(par, queues=queues)


def swapped(par: ParProgram, generator: np.random.Generator) -> ParProgram:
    """Two neighbours of one queue change places, or their commands do while the tokens stay."""
    names = [name for name, steps in par.queues.items() if len(steps) > 1]
    name = names[generator.integers(len(names))]
    steps = list(par.queues[name])
    at = int(generator.integers(len(steps) - 1))
    one, other = steps[at], steps[at + 1]
    if generator.integers(2):
        steps[at], steps[at + 1] = other, one
    else:
        steps[at], steps[at + 1] = replace(one, command=other.command), replace(other, command=one.command)
    return replace(par, queues={**par.queues, name: tuple(steps)})


def elsewhere(program: Program, generator: np.random.Generator) -> Program:
    """The map that a command computes with is read at the address of another layer's result."""
    computing = [i for i, each in enumerate(program.commands) if isinstance(each.attributes, Conv | Eltwise | Pool)]
    index = int(generator.choice(computing))
    command = program.commands[index]
    others = [
        each.writes[0].offset_bytes for each in program.commands
        if each.layer != command.layer and each.writes[0].memory == command.reads[0].memory
    ]  # fmt: skip
    moved = replace(command.reads[0], offset_bytes=int(generator.choice(others)))
    commands = list(program.commands)
    commands[index] = replace(command, reads=(moved, *command.reads[1:]))
    return replace(program, commands=tuple(commands))


def chain(program: Program, commands: list[Command]) -> ParProgram:
    """`commands` strictly one after the other."""
    queues: dict[str, tuple[Step, ...]] = {}
    for index, command in enumerate(commands):
        signals = (index,) if index + 1 < len(commands) else ()
        step = Step(command, (index - 1,) if index else (), signals)
        queues[command.engine] = (*queues.get(command.engine, ()), step)
    return ParProgram(
        program.name, program.processor, program.inputs, program.outputs, program.constants, queues, program.used_bytes
    )
