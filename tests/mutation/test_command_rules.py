"""Every op in a legal program raises nothing; every rule about single commands has programs that break exactly it."""

import math

import msgspec
import numpy as np
import pytest

from nas.check.command import COMMAND_RULES
from nas.check.sequential import check_program
from nas.ir.command import Command, Conv, Copy, Eltwise, Host, Load, Matmul, Pool, Store, Tail, Window
from nas.ir.program import Program
from nas.ir.tensor import FLOAT32, Format, Region, dense
from nas.sim.values import run_values

U8 = Format(8, "code", 0.1, 1, 0, 255)
U4 = Format(4, "code", 0.1, 1, 0, 15)
S4 = Format(4, "code", 0.1, 2, -15, 15)


def at(offset_bytes: int, *shape: int, bits: int = 8) -> Region:
    return dense("sram", offset_bytes, shape, bits)


SAME = Window((3, 3), (1, 1), (1, 1, 1, 1))
HALF = Window((2, 2), (2, 2))

LEGAL: dict[str, tuple] = {
    "conv": (
        "matrix",
        Conv(SAME, 1, U8, U8, Tail(output=U8)),
        (at(0, 4, 6, 6), at(160, 8, 4, 3, 3)),
        (at(512, 8, 6, 6),),
    ),
    "conv with everything": (
        "matrix",
        Conv(SAME, 2, U8, S4, Tail(True, None, U4, "clip", 0.0, 6.0, U4, HALF)),
        (at(0, 4, 6, 6), at(160, 8, 2, 3, 3, bits=4), at(320, 2, 8, bits=32), at(400, 8, 6, 6, bits=4)),
        (at(560, 8, 3, 3, bits=4),),
    ),
    "conv of a shuffled map": (
        "vector",
        Conv(Window(), 4, U8, U8, Tail(output=U8)),
        (Region("sram", 0, (2, 2, 6, 6), (36, 72, 6, 1), 8), at(160, 4, 1, 1, 1)),
        (at(512, 4, 6, 6),),
    ),
    "conv adding in place": (
        "matrix",
        Conv(SAME, 1, U8, U8, Tail(add=U8, output=U8)),
        (at(0, 4, 6, 6), at(160, 4, 4, 3, 3), at(512, 4, 6, 6)),
        (at(512, 4, 6, 6),),
    ),
    "matmul": (
        "matrix",
        Matmul(U8, S4, Tail(True, None, FLOAT32, "silu")),
        (at(0, 3, 10), at(32, 5, 10, bits=4), at(128, 2, 5, bits=32), at(192, 3, 5, bits=32)),
        (at(256, 3, 5, bits=32),),
    ),
    "eltwise of rows": ("vector", Eltwise(FLOAT32, Tail(output=U4)), (at(0, 3, 5, bits=32),), (at(64, 3, 5, bits=4),)),
    "eltwise of a map": (
        "vector",
        Eltwise(U8, Tail(True, output=U8, pool=HALF)),
        (at(0, 4, 6, 6), at(160, 2, 4, bits=32)),
        (at(256, 4, 3, 3),),
    ),
    "eltwise gated and masked": (
        "vector",
        Eltwise(U8, Tail(multiply=U4, add=U8, output=U8)),
        (at(0, 4, 6, 6), at(160, 4, 1, 1, bits=4), at(256, 1, 6, 6)),
        (at(0, 4, 6, 6),),
    ),
    "matmul input-stationary": (
        "matrix",
        Matmul(U8, S4, Tail(output=U8), "input_stationary"),
        (at(0, 3, 10), at(32, 5, 10, bits=4)),
        (at(192, 3, 5),),
    ),
    "matmul gated in place": (
        "matrix",
        Matmul(U8, S4, Tail(multiply=FLOAT32)),
        (at(0, 3, 10), at(32, 5, 10, bits=4), at(192, 3, 5, bits=32)),
        (at(192, 3, 5, bits=32),),
    ),
    "mean pool": ("vector", Pool("mean", SAME, False, U8, FLOAT32), (at(0, 4, 6, 6),), (at(256, 4, 6, 6, bits=32),)),
    "max pool": ("vector", Pool("max", HALF, True, U4, U4), (at(0, 4, 6, 6, bits=4),), (at(256, 4, 3, 3, bits=4),)),
    "copy": ("vector", Copy(), (at(0, 4, 6, 6),), (at(256, 144),)),
    "host": (
        "host",
        Host("torch.add", '[[{"tensor": 0}, {"tensor": 1, "shape": [6]}], {"alpha": Infinity}]'),
        (dense("dram", 0, (2, 3), 32), dense("dram", 0, (6,), 32)),
        (dense("dram", 0, (2, 3), 32),),
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_commands_raise_nothing(name: str, legal, around) -> None:
    assert check_program(around(*LEGAL[name]), legal.processor) == ()


def changed(
    name: str, attributes=None, engine: str = "", reads: dict | None = None, writes: dict | None = None
) -> tuple:
    """A legal command with some fields of its attributes or some operands replaced."""
    old_engine, old_attributes, old_reads, old_writes = LEGAL[name]

    def replaced(regions: tuple[Region, ...], new: dict | None) -> tuple[Region, ...]:
        return tuple((new or {}).get(index, region) for index, region in enumerate(regions))

    return engine or old_engine, attributes or old_attributes, replaced(old_reads, reads), replaced(old_writes, writes)


def tail(name: str, **fields) -> tuple:
    attributes = LEGAL[name][1]
    new = msgspec.structs.replace(attributes, tail=msgspec.structs.replace(attributes.tail, **fields))
    return changed(name, new)


def fields(name: str, **values) -> tuple:
    return changed(name, msgspec.structs.replace(LEGAL[name][1], **values))


EVERYTHING = "conv with everything"
S32 = Format(32, "code", 0.1)
FAR = Format(8, "code", 0.1, 1 << 31, -(1 << 31), 255)
WIDE = ((at(0, 2, 5, bits=32), at(40, 3, 5, bits=32)), (at(128, 2, 3, bits=32),))
BROKEN: list[tuple[str, str, tuple]] = [
    ("engine", "pool on the matrix engine", changed("max pool", engine="matrix")),
    ("engine", "conv on an engine nobody has", changed("conv", engine="tensor")),
    ("dataflow", "lanes on the matrix engine", fields("conv", dataflow="lanes")),
    ("dataflow", "lanes on the matrix engine, of rows", fields("matmul input-stationary", dataflow="lanes")),
    (
        "layout",
        "every other bit, more often than is written out",
        ("vector", Copy(), (Region("sram", 0, (1025,), (2,), 1),), (at(512, 1025, bits=1),)),
    ),
    ("operands", "no table", (*LEGAL[EVERYTHING][:2], LEGAL[EVERYTHING][2][:3], LEGAL[EVERYTHING][3])),
    ("operands", "two results", (*LEGAL["copy"][:3], (at(256, 144), at(512, 144)))),
    ("operands", "host without a result", (*LEGAL["host"][:3], ())),
    ("window", "stride 0", fields("conv", window=Window((3, 3), (0, 1), (1, 1, 1, 1)))),
    ("window", "negative padding", fields("conv", window=Window((3, 3), (1, 1), (1, -1, 1, 1)))),
    ("window", "a pool of padding alone", fields("max pool", window=Window((2, 2), (2, 2), (2, 0, 0, 0)))),
    ("window", "a tail's pool past the end", tail(EVERYTHING, pool=Window((2, 2), (2, 2), (0, 0, 0, 3)))),
    ("groups", "3 groups of 4 channels", fields("conv", groups=3)),
    ("groups", "no groups", fields("conv", groups=0)),
    ("shapes", "conv writes a row too few", changed("conv", writes={0: at(512, 8, 5, 6)})),
    ("shapes", "weights of another kernel", changed("conv", reads={1: at(160, 8, 4, 3, 1)})),
    ("shapes", "weights of too many channels", changed("conv", reads={1: at(160, 8, 5, 3, 3)})),
    ("shapes", "conv of rows", changed("conv", reads={0: at(0, 24, 6)})),
    ("shapes", "a pool missing from the result", tail(EVERYTHING, pool=None)),
    ("shapes", "a kernel larger than its map", fields("max pool", window=Window((7, 7), (1, 1)))),
    ("shapes", "matmul of other rows", changed("matmul", reads={0: at(0, 3, 9)})),
    ("shapes", "matmul of a map", changed("matmul", reads={0: at(0, 1, 3, 10)})),
    ("shapes", "matmul pooled", tail("matmul", pool=HALF)),
    ("shapes", "eltwise of another size", changed("eltwise of rows", writes={0: at(64, 5, 3, bits=4)})),
    ("shapes", "copy of fewer elements", changed("copy", writes={0: at(256, 143)})),
    ("table", "a table of bytes", changed(EVERYTHING, reads={2: at(320, 2, 8, bits=8)})),
    ("table", "a table of other channels", changed("eltwise of a map", reads={1: at(160, 2, 6, bits=32)})),
    ("addend", "an addend of the pooled shape", changed(EVERYTHING, reads={3: at(400, 8, 3, 3, bits=4)})),
    ("addend", "an addend transposed", changed("matmul", reads={3: at(192, 5, 3, bits=32)})),
    ("addend", "an addend spread over half the rows", changed("eltwise gated and masked", reads={2: at(256, 1, 3, 6)})),
    ("factor", "a gate of other channels", changed("eltwise gated and masked", reads={1: at(160, 2, 1, 1, bits=4)})),
    ("factor", "a gate of rows", changed("eltwise gated and masked", reads={1: at(160, 4, 1, bits=4)})),
    ("factor", "a product of fewer rows", changed("matmul gated in place", reads={2: at(192, 2, 5, bits=32)})),
    ("operands", "no gate", (*LEGAL["matmul gated in place"][:2], LEGAL["matmul"][2][:2], LEGAL["matmul"][3])),
    ("format_bits", "a gate of wider codes", changed("eltwise gated and masked", reads={1: at(160, 4, 1, 1)})),
    ("formats", "no scale", fields("conv", input=Format(8, "code", 0.0, 1, 0, 255))),
    ("formats", "an infinite scale", fields("conv", input=Format(8, "code", math.inf, 1, 0, 255))),
    ("formats", "no levels", fields("conv", weight=Format(8, "code", 0.1, 1, 0, 0))),
    ("formats", "levels past the container", fields("conv", weight=Format(8, "code", 0.1, 1, 0, 256))),
    ("formats", "codes that all mean the same", fields("conv", weight=Format(8, "code", 0.1, 0, 0, 255))),
    ("formats", "an offset beyond 64 bits", fields("conv", weight=Format(8, "code", 0.1, 1, 1 << 40, 255))),
    ("formats", "levels of a signed code", fields("conv", input=Format(32, "code", 0.1, 1, 0, 9))),
    ("formats", "floats of 8 bits", fields("conv", input=Format(8))),
    ("formats", "a result of multiplier 2", tail("conv", output=Format(8, "code", 0.1, 2, -255, 255))),
    ("formats", "a maximum that requantises", fields("max pool", output=Format(4, "code", 0.2, 1, 0, 15))),
    ("format_bits", "bytes read as floats", fields("conv", input=FLOAT32)),
    ("format_bits", "a result wider than its place", tail("conv", output=FLOAT32)),
    ("format_bits", "copy that widens", changed("copy", writes={0: at(256, 144, bits=16)})),
    ("sums", "five products of wide codes", ("vector", Matmul(S32, S32), *WIDE)),
    (
        "sums",
        "products of codes that mean a lot",
        fields("conv", weight=Format(8, "code", 0.1, 1 << 31, 0, 255), input=FAR),
    ),
    ("activation", "a clip upside down", tail(EVERYTHING, low=6.0, high=0.0)),
    ("activation", "a clip at nothing", tail(EVERYTHING, high=math.nan)),
    ("host_call", "no function", fields("host", function="")),
    ("host_call", "no JSON", fields("host", arguments="[[], {}")),
    ("host_call", "arguments of another form", fields("host", arguments='{"tensor": 0}')),
    ("host_call", "a tensor that is not there", fields("host", arguments='[[{"tensor": 2}], {}]')),
    ("host_call", "a tensor of no number", fields("host", arguments='[[[{"tensor": "0"}]], {}]')),
    ("host_call", "bytes", changed("host", reads={0: dense("dram", 0, (2, 3), 8)})),
    (
        "written_once",
        "a result whose rows share bytes",
        changed("eltwise of rows", writes={0: Region("sram", 64, (3, 5), (4, 1), 4)}),
    ),
    ("written_once", "a result of stride 0", changed("copy", writes={0: Region("sram", 256, (2, 72), (0, 1), 8)})),
]


@pytest.mark.parametrize(
    ("rule", "command"), [(rule, command) for rule, _, command in BROKEN], ids=[b[1] for b in BROKEN]
)
def test_broken_commands_break_exactly_one_rule(rule: str, command: tuple, legal, around) -> None:
    findings = check_program(around(*command), legal.processor)
    assert {finding.rule for finding in findings} == {rule}
    assert any("(it)" in finding.where for finding in findings)


LAYOUTS = {
    "elements of 3 bits": {"bits": 3},
    "a size of 0": {"shape": (4, 0, 8)},
    "a negative size": {"shape": (4, -5, 8)},
    "a negative stride": {"strides": (40, -8, 1)},
    "a stride too few": {"strides": (40, 8)},
    "a size that no memory has": {"shape": (1 << 40, 1 << 40, 8)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", ["reads", "writes"])
def test_broken_layouts(layout: str, part: str, legal) -> None:
    assert rules_of(legal, 3, part, LAYOUTS[layout]) == {"layout"}


@pytest.mark.parametrize(
    ("index", "part", "name"),
    [(3, "reads", "sram"), (3, "writes", "dram"), (4, "reads", "dram"), (4, "writes", "cache"), (6, "reads", "dram")],
)
def test_operands_in_the_wrong_memory(index: int, part: str, name: str, legal) -> None:
    assert rules_of(legal, index, part, {"memory": name}) == {"memory"}


def test_moving_keeps_the_shape(legal) -> None:
    assert rules_of(legal, 3, "writes", {"shape": (4, 4, 8)}) == {"shapes"}
    assert rules_of(legal, 6, "writes", {"shape": (4, 2, 16)}) == {"shapes"}


def rules_of(legal, index: int, part: str, new: dict) -> set[str]:
    """The rules that break when the first region of `part` of one command changes."""
    program: Program = legal.program
    command: Command = program.commands[index]
    regions = getattr(command, part)
    region = msgspec.structs.replace(regions[0], **new)
    command = msgspec.structs.replace(command, **{part: (region, *regions[1:])})
    commands = (*program.commands[:index], command, *program.commands[index + 1 :])
    findings = check_program(msgspec.structs.replace(program, commands=commands), legal.processor)
    assert all("conv" in finding.where or "scale" in finding.where for finding in findings)
    return {finding.rule for finding in findings}


def test_every_rule_about_commands_is_broken_here() -> None:
    assert {rule.name for rule in COMMAND_RULES} == {rule for rule, _, _ in BROKEN} | {"layout", "memory"}
    assert all(rule.why for rule in COMMAND_RULES)
    assert {Load, Store} | {type(command[1]) for command in LEGAL.values()} == {
        Load, Store, Conv, Matmul, Eltwise, Pool, Copy, Host,
    }  # fmt: skip


def test_sums_that_just_stay_within_64_bits_are_legal_and_computed(legal, around) -> None:
    """The values' simulator holds whatever the rule lets pass."""
    one = ((at(0, 2, 1, bits=32), at(40, 3, 1, bits=32)), (at(128, 2, 3, bits=32),))
    program = around("vector", Matmul(S32, S32), *one)
    assert check_program(program, legal.processor) == ()
    constants = {each.name: np.full(each.region.shape, 0x80, np.uint8) for each in program.constants}
    code = int.from_bytes(b"\x80" * 4, "little", signed=True)
    np.testing.assert_allclose(run_values(program, constants, {})["write0"], (code * 0.1) ** 2, rtol=1e-6)
