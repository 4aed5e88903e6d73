"""Assembly reads back as the very same program, is readable, and says where it is wrong."""

from contextlib import suppress
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.core.errors import InputError
from nas.ir.command import (
    Activation,
    Command,
    Conv,
    Copy,
    Dataflow,
    Eltwise,
    Host,
    Load,
    Matmul,
    Pool,
    Store,
    Tail,
    Window,
)
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Binding, Concat, Operator, Program, View
from nas.ir.tensor import ELEMENT_BITS, Format, Region, Tensor, dense
from nas.ir.text import program_from_text, program_to_text

names = st.text(max_size=8) | st.sampled_from(["stem.conv", "true", "inf", "inf.x", "a b", "wait", '"', "-", "é", "1"])
integers = st.integers(-(1 << 62), 1 << 62)
counts = st.integers(0, 99)
floats = st.floats(allow_nan=False)
pairs = st.tuples(counts, counts)
formats = st.builds(
    Format, st.sampled_from(ELEMENT_BITS), st.sampled_from(["float", "code"]), floats, integers, integers, integers
)
windows = st.builds(Window, pairs, pairs, st.tuples(counts, counts, counts, counts), pairs)
activations = st.sampled_from(get_args(Activation))
tails = st.builds(
    Tail,
    st.booleans(),
    st.none() | formats,
    st.none() | formats,
    activations,
    floats,
    floats,
    formats,
    st.none() | windows,
)
flows = st.sampled_from(get_args(Dataflow))
sizes = st.lists(integers, max_size=4).map(tuple)
regions = st.builds(Region, names, integers, sizes, sizes, st.integers(-2, 64)) | st.builds(
    dense,
    names,
    integers,
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    st.sampled_from(ELEMENT_BITS),
)
computing = (
    st.builds(Conv, windows, counts, formats, formats, tails, flows)
    | st.builds(Matmul, formats, formats, tails, flows)
    | st.builds(Eltwise, formats, tails)
    | st.builds(Pool, st.sampled_from(["max", "mean"]), windows, st.booleans(), formats, formats)
    | st.builds(Host, names, names)
)
several = st.lists(regions, max_size=3).map(tuple)
commands = st.builds(Command, names, names, several, several, computing | st.sampled_from([Load(), Store(), Copy()]))
bindings = st.lists(st.builds(Binding, names, regions, formats), max_size=2).map(tuple)
roles = st.sampled_from(["input", "output", "feature", "constant"])
views = st.builds(View, sizes, sizes, counts, counts) | st.just(Concat())
words = st.lists(names, max_size=3).map(tuple)
used = st.dictionaries(names, integers, max_size=3)
programs = st.builds(
    Program,
    name=names,
    processor=names,
    stage=st.sampled_from(["front_end", "opt"]),
    tensors=st.lists(st.builds(Tensor, names, sizes, formats, roles), max_size=2).map(tuple),
    operators=st.lists(st.builds(Operator, names, computing | views, words, words), max_size=2).map(tuple),
    inputs=bindings,
    outputs=bindings,
    constants=bindings,
    commands=st.lists(commands, max_size=3).map(tuple),
    used_bytes=used,
)
steps = st.builds(Step, commands, sizes, sizes)
par_programs = st.builds(
    ParProgram,
    name=names,
    processor=names,
    inputs=bindings,
    outputs=bindings,
    constants=bindings,
    queues=st.dictionaries(names, st.lists(steps, max_size=2).map(tuple), max_size=3),
    used_bytes=used,
)


@given(programs)
@settings(max_examples=40, deadline=None)
def test_sequential_round_trip(program: Program) -> None:
    assert program_from_text(program_to_text(program)) == program


@given(par_programs)
@settings(max_examples=40, deadline=None)
def test_parallel_round_trip(program: ParProgram) -> None:
    assert program_from_text(program_to_text(program)) == program


CODES = Format(8, "code", 0.5, 1, 0, 255)
SMALL = Program(
    name="small net",
    processor="edge_npu",
    stage="opt",
    tensors=(Tensor("x", (1, 4, 8, 8), CODES, "input"),),
    operators=(Operator("conv1", Conv(Window((3, 3))), ("x", "conv1.weight"), ("y",)),),
    inputs=(Binding("x", dense("dram", 0, (1, 4, 8, 8), 8), CODES),),
    outputs=(),
    constants=(),
    commands=(
        Command(
            "dma_in",
            "conv1",
            (Region("dram", 24, (4, 5, 8), (64, 8, 1), 8),),
            (dense("sram", 0, (4, 5, 8), 8),),
            Load(),
        ),
        Command("vector", "conv1", (dense("sram", 0, (4, 5, 8), 8),), (), Eltwise(CODES, Tail(activation="relu"))),
    ),
    used_bytes={"dram": 256, "sram": 160},
)
SMALL_TEXT = """\
program "small net"
processor edge_npu
stage opt
used {dram=256 sram=160}
input x dram[0x0: 1x4x8x8 @8] {bits=8 kind=code scale=0.5 levels=255}
tensor x {shape=[1, 4, 8, 8] format={bits=8 kind=code scale=0.5 levels=255} role=input}
operator conv1 conv [x, conv1.weight] -> [y] {window={kernel=[3, 3]}}
[0] dma_in load conv1 dram[0x18: 4x5x8 / 64x8x1 @8] -> sram[0x0: 4x5x8 @8]
[1] vector eltwise conv1 sram[0x0: 4x5x8 @8] -> {input={bits=8 kind=code scale=0.5 levels=255} tail={activation=relu}}
"""


def test_it_reads_like_this() -> None:
    assert program_to_text(SMALL).replace("{bits=8 kind=code scale=0.5 levels=255}", "F") == SMALL_TEXT.replace(
        "{bits=8 kind=code scale=0.5 levels=255}", "F"
    )
    assert program_from_text("# a remark\n\n" + SMALL_TEXT) == SMALL


WRONG = [
    ("[0] dma_in load", "[0] dma_in lode", "line 8", "did you mean 'load'"),
    ("4x5x8 / 64x8x1 @8]", "4x5x8 / 64x8x1 @8", "line 8", "expected ']', got '-> sram"),
    ("[1] vector", "[one] vector", "line 9", "expected an integer, got 'one]"),
    ("activation=relu", "activation=rely", "line 9", "rely"),
    ("scale=0.5", "scale=half", "line 5", "scale"),
    ("kernel=[3, 3]", "kernel=[3, 3, 3]", "line 7", "kernel"),
    ("kernel=[3, 3]", "kernel=" + "[" * 99, "line 7", "within each other"),
    ("stage opt", "stage optimised", "line 3", "optimised"),
    ("stage opt", "stage opt opt", "line 3", "expected the end of the line, got 'opt'"),
    ("stage opt", "processor edge_npu", "line 3", "another"),
    ("stage opt\n", "", "stage", "expected a line of this name"),
    ("used", "usd", "line 4", "did you mean 'used'"),
    ("dram=256", "dram=256 dram=1", "line 4", "every key once"),
    ("sram=160", "sram=" + "9" * 5000, "line 4", "expected a number of at most"),
    ('"small net"', '"small net', "line 1", "expected a name"),
]


@pytest.mark.parametrize(("old", "new", "where", "what"), WRONG)
def test_errors_name_the_line(old: str, new: str, where: str, what: str) -> None:
    with pytest.raises(InputError) as error:
        program_from_text(SMALL_TEXT.replace(old, new), "small.asm")
    assert str(error.value).startswith("small.asm: ")
    assert where in str(error.value)
    assert what in str(error.value)


@given(
    st.text(alphabet='[]{}=,:/@->x0123456789 ."abcdeprogramqueue\n', max_size=60) | st.text(max_size=40),
    st.integers(0, 400),
)
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_program_or_an_input_error(text: str, at: int) -> None:
    for whole in (text, SMALL_TEXT[:at] + text + SMALL_TEXT[at:]):
        with suppress(InputError):
            program_from_text(whole)
