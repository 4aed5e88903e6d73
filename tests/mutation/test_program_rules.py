"""Every rule about whole programs, sequential and parallel, has a broken program that trips exactly it."""

from collections.abc import Callable

import msgspec
import pytest

from nas.check.command import COMMAND_RULES
from nas.check.parallel import RULES_PAR, check_par_program
from nas.check.rule import Finding, raise_findings
from nas.check.sequential import RULES_SEQ, check_program
from nas.core.errors import ContractError
from nas.ir.command import Command, Copy, Host, Load, Store
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Binding, Program
from nas.ir.tensor import FLOAT32, Format, Region, dense

replace = msgspec.structs.replace
W, TABLE, X0, CONV0, SCALE0, STORE0, X1, CONV1, SCALE1, STORE1 = 0, 1, 3, 4, 5, 6, 7, 8, 9, 10


def test_legal_programs_raise_nothing(legal) -> None:
    assert check_program(legal.program, legal.processor) == ()
    assert check_par_program(legal.par, legal.processor) == ()
    assert check_par_program(legal.par, legal.processor, legal.program) == ()


def bound(program: Program, part: str, index: int, **fields) -> Program:
    bindings = getattr(program, part)
    binding = replace(bindings[index], **fields)
    return replace(program, **{part: (*bindings[:index], binding, *bindings[index + 1 :])})


def placed(program: Program, index: int, offset_bytes: int, part: str = "writes", number: int = 0) -> Program:
    """One region of one command moved to another address."""
    command = program.commands[index]
    regions = list(getattr(command, part))
    regions[number] = replace(regions[number], offset_bytes=offset_bytes)
    command = replace(command, **{part: tuple(regions)})
    return replace(program, commands=(*program.commands[:index], command, *program.commands[index + 1 :]))


def without(program: Program, *indices: int) -> Program:
    return replace(program, commands=tuple(c for i, c in enumerate(program.commands) if i not in indices))


FREE = dense("dram", 432, (1, 1, 1, 16), 8)
SEQUENTIAL: list[tuple[str, str, Callable[[Program], Program]]] = [
    ("processor", "another processor", lambda p: replace(p, processor="huge")),
    ("used_bytes", "more than there is", lambda p: replace(p, used_bytes={"dram": 704, "sram": 1025})),
    ("used_bytes", "a memory that is not there", lambda p: replace(p, used_bytes={**p.used_bytes, "cache": 1})),
    ("used_bytes", "less than nothing", lambda p: replace(p, used_bytes={**p.used_bytes, "flash": -1})),
    ("bindings", "one name twice", lambda p: bound(p, "constants", 1, name="x")),
    ("bindings", "an input on chip", lambda p: bound(p, "inputs", 0, region=dense("sram", 0, (1, 4, 8, 8), 8))),
    ("bindings", "bytes as floats", lambda p: bound(p, "inputs", 0, format=FLOAT32)),
    ("bindings", "no scale", lambda p: bound(p, "inputs", 0, format=Format(8, "code", -1.0, levels=255))),
    (
        "bindings",
        "an input nobody can write",
        lambda p: bound(p, "inputs", 0, format=Format(8, "code", 1.0, 2, 0, 255)),
    ),
    (
        "bindings",
        "elements that share a place",
        lambda p: bound(p, "outputs", 0, region=Region("dram", 448, (1, 4, 8, 8), (256, 64, 0, 1), 8)),
    ),
    (
        "bindings",
        "a stride too few",
        lambda p: bound(p, "inputs", 0, region=Region("dram", 0, (1, 4, 8, 8), (256, 64, 8), 8)),
    ),
    (
        "bindings",
        "an axis for every element of a memory that nobody has",
        lambda p: bound(p, "inputs", 0, region=Region("dram", 0, (2,) * 2000, (1,) * 2000, 8)),
    ),
    (
        "bindings",
        "bits at odd distances, more than are written out",
        lambda p: bound(
            p, "inputs", 0, region=Region("dram", 0, (1025,), (3,), 1), format=Format(1, "code", 1.0, levels=1)
        ),
    ),
    ("inside", "a load past the end of dram in use", lambda p: placed(p, X1, 500, "reads")),
    ("inside", "a load past the end of sram in use", lambda p: placed(p, X1, 641)),
    ("inside", "an address below 0", lambda p: placed(p, X0, -1)),
    ("inside", "less in use than is used", lambda p: replace(p, used_bytes={"dram": 704, "sram": 799})),
    ("inside", "a memory in use that nobody mentions", lambda p: replace(p, used_bytes={"dram": 704})),
    (
        "inside",
        "an input past the end",
        lambda p: replace(
            p, inputs=(*p.inputs, Binding("x2", dense("dram", 700, (1, 1, 1, 16), 8), p.inputs[0].format))
        ),
    ),
    (
        "bindings_apart",
        "an input in the weights",
        lambda p: replace(p, inputs=(*p.inputs, Binding("x2", replace(FREE, offset_bytes=399), p.inputs[0].format))),
    ),
    ("read_only", "a store into the input", lambda p: store_too(p, 100)),
    ("read_only", "a store into the last byte of a constant", lambda p: store_too(p, 431)),
    ("in_place", "a convolution over its own input", lambda p: result_at(p, 480)),
    ("in_place", "a scale shifted by a byte", lambda p: placed(p, SCALE0, 513)),
    ("written_before_read", "a load left out", lambda p: without(p, W)),
    ("written_before_read", "the last byte never loaded", lambda p: placed(p, X1, 351)),
    ("written_before_read", "computed before it is loaded", lambda p: swapped(p, X1, CONV1)),
    ("outputs_complete", "a store left out", lambda p: without(p, STORE1)),
    ("outputs_complete", "both tiles stored to one place", lambda p: placed(p, STORE1, 448)),
    (
        "format_kept",
        "a result scaled twice",
        lambda p: replace(p, commands=(*p.commands[:STORE0], *p.commands[SCALE0:])),
    ),
    ("format_kept", "one scale left out", lambda p: without(p, SCALE1)),
    (
        "format_kept",
        "an output of other levels",
        lambda p: bound(p, "outputs", 0, format=replace(p.outputs[0].format, levels=15)),
    ),
    ("format_kept", "an output in another scale", lambda p: bound(p, "outputs", 0, format=p.inputs[0].format)),
    ("format_kept", "an input in another scale", lambda p: bound(p, "inputs", 0, format=p.outputs[0].format)),
]


def store_too(program: Program, offset_bytes: int) -> Program:
    source = dense("sram", 512, (2,), 8)
    extra = Command("dma_out", "extra", (source,), (replace(source, memory="dram", offset_bytes=offset_bytes),),
                    program.commands[STORE0].attributes)  # fmt: skip
    return replace(program, commands=(*program.commands, extra))


def result_at(program: Program, offset_bytes: int) -> Program:
    """The second tile's result at another place, for all who touch it."""
    for index, part in ((CONV1, "writes"), (SCALE1, "reads"), (SCALE1, "writes"), (STORE1, "reads")):
        program = placed(program, index, offset_bytes, part)
    return program


def swapped(program: Program, a: int, b: int) -> Program:
    commands = list(program.commands)
    commands[a], commands[b] = commands[b], commands[a]
    return replace(program, commands=tuple(commands))


@pytest.mark.parametrize(
    ("rule", "mutate"), [(r, m) for r, _, m in SEQUENTIAL], ids=[f"{s[0]}: {s[1]}" for s in SEQUENTIAL]
)
def test_broken_sequential_programs(rule: str, mutate: Callable[[Program], Program], legal) -> None:
    findings = check_program(mutate(legal.program), legal.processor)
    assert {finding.rule for finding in findings} == {rule}


def test_two_results_of_one_command_that_share_a_byte(legal, around) -> None:
    results = (dense("dram", 0, (4,), 32), dense("dram", 16, (4,), 32))
    program = around("host", Host("torch.split", "[[], {}]"), (), results)
    assert check_program(program, legal.processor) == ()
    command = program.commands[0]
    command = replace(command, writes=(command.writes[0], replace(command.writes[1], offset_bytes=12)))
    findings = check_program(replace(program, commands=(command,)), legal.processor)
    assert {finding.rule for finding in findings} == {"in_place", "outputs_complete"}


def test_part_of_a_byte_is_not_all_of_it(legal, around) -> None:
    """A load that brings five codes of four bits leaves garbage in the half byte behind them."""
    place = dense("sram", 0, (4, 6), 4)
    program = around("vector", Copy(), (place,), (replace(place, offset_bytes=32),))
    assert check_program(program, legal.processor) == ()
    load = program.commands[0]
    short = replace(
        load, reads=(replace(load.reads[0], shape=(4, 5)),), writes=(replace(load.writes[0], shape=(4, 5)),)
    )
    findings = check_program(replace(program, commands=(short, *program.commands[1:])), legal.processor)
    assert [str(finding) for finding in findings] == [
        "command 1 (it): read 0, sram[0x0: 4x6 @4]: 4 byte(s) were never written [written_before_read]"
    ]


def test_every_other_bit_is_not_the_whole_output(legal) -> None:
    """However many: what is left out of so long an output was once taken for written."""
    bits, count = Format(1, "code", 1.0, levels=1), 4_194_305
    here, one = dense("sram", 0, (1,), 1), dense("dram", 0, (1,), 1)
    half, whole = Region("dram", 1, (count,), (2,), 1), Region("dram", 1, (2 * count - 1,), (1,), 1)
    many = replace(here, shape=(count,), strides=(0,))
    program = replace(
        legal.program,
        inputs=(),
        outputs=(Binding("y", whole, bits),),
        constants=(Binding("one", one, bits),),
        commands=(
            Command("dma_in", "bit", (one,), (here,), Load()),
            Command("dma_out", "bits", (many,), (half,), Store()),
        ),
        used_bytes={"dram": whole.end_bytes, "sram": 1},
    )
    processor = replace(legal.processor, dram=replace(legal.processor.dram, size_bytes=1 << 24))
    assert [finding.rule for finding in check_program(program, processor)] == ["layout"]


@pytest.mark.timeout(20)
def test_bindings_that_interlock_bit_by_bit_are_answered_at_once(legal) -> None:
    bits = Format(1, "code", 1.0, levels=1)
    for count, rules in ((1024, []), (30_000, ["bindings", "bindings"])):
        regions = (Region("dram", offset, (count,), (17,), 1) for offset in (0, 1))
        constants = tuple(Binding(f"c{number}", region, bits) for number, region in enumerate(regions))
        program = replace(
            legal.program, inputs=(), outputs=(), constants=constants, commands=(), used_bytes={"dram": 1 << 17}
        )
        processor = replace(legal.processor, dram=replace(legal.processor.dram, size_bytes=1 << 17))
        assert [finding.rule for finding in check_program(program, processor)] == rules


def step(par: ParProgram, queue: str, position: int, **fields) -> ParProgram:
    steps = par.queues[queue]
    new = replace(steps[position], **fields)
    return replace(par, queues={**par.queues, queue: (*steps[:position], new, *steps[position + 1 :])})


def without_token(par: ParProgram, token: int) -> ParProgram:
    queues = {
        name: tuple(
            replace(
                each,
                waits=tuple(other for other in each.waits if other != token),
                signals=tuple(other for other in each.signals if other != token),
            )
            for each in steps
        )
        for name, steps in par.queues.items()
    }
    return replace(par, queues=queues)


def circle(par: ParProgram) -> ParProgram:
    """The first convolution waits for what is made of its result."""
    later = par.queues["vector"][1]
    par = step(par, "vector", 1, signals=(*later.signals, 50))
    return step(par, "matrix", 0, waits=(*par.queues["matrix"][0].waits, 50))


def moved_queue(par: ParProgram) -> ParProgram:
    """All loads in one queue more, which no engine has."""
    queues = dict(par.queues)
    queues["dma_in2"] = queues.pop("dma_in")
    return replace(par, queues=queues)


# With the number of the token; those between (sender, receiver) of tests/mutation/conftest.py, in their order.
PARALLEL: list[tuple[str, str, Callable[[ParProgram], ParProgram]]] = [
    ("queues", "a queue that is no engine's", moved_queue),
    ("tokens", "a wait for ever", lambda p: step(p, "dma_out", 1, waits=(8, 99))),
    ("tokens", "a signal to nobody", lambda p: step(p, "dma_out", 1, signals=(99,))),
    ("tokens", "one signal, two waits", lambda p: step(p, "dma_out", 0, waits=(5, 8))),
    ("tokens", "two signals, one wait", lambda p: step(p, "matrix", 1, signals=(7, 8))),
    ("tokens", "waited for twice by one step", lambda p: step(p, "dma_out", 1, waits=(8, 8))),
    ("deadlock", "two engines that wait for each other", circle),
    ("deadlock", "a step that waits for itself", lambda p: step(p, "dma_out", 1, waits=(8, 99), signals=(99,))),
    *[
        ("race", f"token {token} dropped", lambda p, token=token: without_token(p, token))
        for token in (1, 2, 3, 4, 5, 6, 7, 8)
    ],
    (
        "same_work",
        "a load twice",
        lambda p: replace(p, queues={**p.queues, "dma_in": (*p.queues["dma_in"], Step(p.queues["dma_in"][0].command))}),
    ),
    ("same_work", "another input", lambda p: replace(p, inputs=(*p.inputs, Binding("x2", FREE, p.inputs[0].format)))),
]


@pytest.mark.parametrize(
    ("rule", "mutate"), [(r, m) for r, _, m in PARALLEL], ids=[f"{s[0]}: {s[1]}" for s in PARALLEL]
)
def test_broken_parallel_programs(rule: str, mutate: Callable[[ParProgram], ParProgram], legal) -> None:
    findings = check_par_program(mutate(legal.par), legal.processor, legal.program)
    assert {finding.rule for finding in findings} == {rule}


def test_a_token_that_another_way_replaces_is_not_missed(legal) -> None:
    """The weights' load (token 0) comes before the table's, for whose copy the convolution waits anyway."""
    assert check_par_program(without_token(legal.par, 0), legal.processor, legal.program) == ()


def in_order(program: Program, commands: tuple[Command, ...]) -> ParProgram:
    """A parallel program that runs `commands` strictly one after the other."""
    queues: dict[str, tuple[Step, ...]] = {}
    for index, command in enumerate(commands):
        waits = (index - 1,) if index else ()
        signals = (index,) if index < len(commands) - 1 else ()
        queues[command.engine] = (*queues.get(command.engine, ()), Step(command, waits, signals))
    return ParProgram(
        program.name, program.processor, program.inputs, program.outputs, program.constants, queues, program.used_bytes
    )


def test_rules_of_sequential_programs_hold_in_parallel_too(legal) -> None:
    for rule, name, mutate in SEQUENTIAL:
        broken = mutate(legal.program)
        findings = check_par_program(in_order(broken, broken.commands), legal.processor)
        assert {finding.rule for finding in findings} == {rule}, name


def test_a_command_left_out_is_missed(legal) -> None:
    broken = in_order(legal.program, legal.program.commands[:-1])
    (finding,) = check_par_program(broken, legal.processor, legal.program)
    assert finding.rule == "same_work" and finding.where == "command 10 (scale) of the sequential program"


def test_every_order_of_a_dependence_but_the_sequential_one_is_found(legal) -> None:
    program = legal.program
    assert check_par_program(in_order(program, program.commands), legal.processor, program) == ()
    # The second tile reuses the first one's buffer: loaded and computed too early, it is computed twice.
    reused = placed(placed(program, X1, 192), CONV1, 192, "reads")
    assert check_program(reused, legal.processor) == ()
    early = [*reused.commands[:CONV0], reused.commands[X1], *reused.commands[CONV0:X1], *reused.commands[X1 + 1 :]]
    broken = in_order(reused, tuple(early))
    assert check_par_program(broken, legal.processor) == ()
    findings = check_par_program(broken, legal.processor, reused)
    assert {finding.rule for finding in findings} == {"order"}


# In tests of their own above, and in test_core_rules.py.
OF_A_NETWORK = {"operator", "tensors", "own_operands"}
BROKEN_ELSEWHERE = {"order", "own_sram", *OF_A_NETWORK}


def test_every_rule_about_programs_is_broken_here() -> None:
    of_commands = len(COMMAND_RULES)
    assert {rule.name for rule in RULES_SEQ[of_commands:]} == {rule for rule, _, _ in SEQUENTIAL} | OF_A_NETWORK
    assert {rule.name for rule in RULES_PAR[of_commands:]} == {
        rule for rule, _, _ in SEQUENTIAL + PARALLEL
    } | BROKEN_ELSEWHERE
    for table in (RULES_SEQ, RULES_PAR):
        assert len({rule.name for rule in table}) == len(table)
        assert all(rule.why for rule in table)


def test_a_finding_says_where_what_and_why(legal) -> None:
    (finding,) = check_program(placed(legal.program, X1, 641), legal.processor)
    assert str(finding) == ("command 7 (conv): sram[0x281: 4x5x8 @8] ends at byte 801, 800 are in use [inside]")
    (cycle,) = check_par_program(circle(legal.par), legal.processor)
    assert cycle.message == (
        "waits for itself: matrix[0] (conv) waits for vector[1] (scale) waits for matrix[0] (conv)"
    )
    unordered = [str(finding) for finding in check_par_program(without_token(legal.par, 8), legal.processor)]
    assert len(unordered) == 2  # the store waits neither for the scaling nor, through it, for the convolution
    assert any("dma_out[1] (scale)" in text and "vector[2] (scale)" in text for text in unordered)
    assert any("dma_out[1] (scale)" in text and "matrix[1] (conv)" in text for text in unordered)
    with pytest.raises(ContractError, match=r"two_tiles breaks 7 rule\(s\)(.|\n)*and 2 more"):
        raise_findings([Finding("rule", f"command {index}", "wrong") for index in range(7)], "two_tiles")
    raise_findings((), "two_tiles")
