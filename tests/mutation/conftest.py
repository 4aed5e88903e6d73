"""Small legal programs, written by hand: what the mutants are made from."""

from dataclasses import dataclass

import pytest

from nas.hw.spec import Dram, Energies, Host, Matrix, Processor, Sram, Vector
from nas.ir.command import Attributes, Command, Conv, Copy, Eltwise, Load, Matmul, Pool, Store, Tail, Window
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Binding, Program
from nas.ir.tensor import FLOAT32, Format, Region, box, dense

CODES = Format(8, "code", 0.1, 1, 0, 255)
WEIGHTS = Format(8, "code", 0.05, 2, -255, 255)
PLAIN = Format(8, "code", levels=255)  # bytes of any format
SCALED = Format(8, "code", 0.2, 1, 0, 255)


@dataclass(frozen=True)
class Legal:
    """A processor, a program for it, and the same program on its engines' queues."""

    processor: Processor
    program: Program
    par: ParProgram


def _processor() -> Processor:
    return Processor(
        name="tiny",
        clock_hz=1e9,
        issue_cycles=1,
        dram=Dram(4096, 1e9, 1e-7),
        sram=Sram(1024, 4, 16),
        matrix=Matrix(4, 4),
        vector=Vector(4),
        host=Host(1e9, 1e-6),
        energies=Energies("none", 1, 1, 1, 1, 1, 0),
    )


def _program() -> Program:
    """x (1,4,8,8) -> 3x3 conv with table and relu -> requantised in place -> y, in two tiles of four rows.

    Each tile has its own buffers, so that the second is loaded while the first is computed. The table is copied on chip
    once, which gives the vector engine something to do beforehand.
    """
    x, y = dense("dram", 0, (1, 4, 8, 8), 8), dense("dram", 448, (1, 4, 8, 8), 8)
    w, table = dense("dram", 256, (4, 4, 3, 3), 8), dense("dram", 400, (2, 4), 32)
    w_here, table_here = dense("sram", 0, (4, 4, 3, 3), 8), dense("sram", 144, (2, 4), 32)
    table_copy = dense("sram", 768, (2, 4), 32)
    commands = [
        Command("dma_in", "conv", (w,), (w_here,), Load()),
        Command("dma_in", "conv", (table,), (table_here,), Load()),
        Command("vector", "conv", (table_here,), (table_copy,), Copy()),
    ]
    for rows_in, rows_out, padding, x_at, y_at in (
        ((0, 5), (0, 4), (1, 1, 0, 1), 192, 512),
        ((3, 8), (4, 8), (0, 1, 1, 1), 352, 640),
    ):
        x_map = Region("dram", x.offset_bytes, x.shape[1:], x.strides[1:], 8)
        y_map = Region("dram", y.offset_bytes, y.shape[1:], y.strides[1:], 8)
        x_here, y_here = dense("sram", x_at, (4, 5, 8), 8), dense("sram", y_at, (4, 4, 8), 8)
        conv = Conv(
            Window((3, 3), (1, 1), padding), 1, CODES, WEIGHTS, Tail(table=True, activation="relu", output=CODES)
        )
        scale = Eltwise(CODES, Tail(output=SCALED))
        commands += [
            Command("dma_in", "conv", (box(x_map, None, rows_in),), (x_here,), Load()),
            Command("matrix", "conv", (x_here, w_here, table_copy), (y_here,), conv),
            Command("vector", "scale", (y_here,), (y_here,), scale),
            Command("dma_out", "scale", (y_here,), (box(y_map, None, rows_out),), Store()),
        ]
    return Program(
        name="two_tiles",
        processor="tiny",
        stage="opt",
        tensors=(),
        operators=(),
        inputs=(Binding("x", x, CODES),),
        outputs=(Binding("y", y, SCALED),),
        constants=(Binding("w", w, WEIGHTS), Binding("table", table, FLOAT32)),
        commands=tuple(commands),
        used_bytes={"dram": 704, "sram": 800},
    )


# (sender, receiver) by the index of the command: the fewest tokens that leave no race.
_TOKENS = ((0, 4), (1, 2), (2, 4), (3, 4), (4, 5), (5, 6), (7, 8), (8, 9), (9, 10))


def _par(program: Program) -> ParProgram:
    queues: dict[str, tuple[Step, ...]] = {"dma_in": (), "matrix": (), "vector": (), "dma_out": ()}
    for index, command in enumerate(program.commands):
        waits = tuple(token for token, (_, receiver) in enumerate(_TOKENS) if receiver == index)
        signals = tuple(token for token, (sender, _) in enumerate(_TOKENS) if sender == index)
        queues[command.engine] += (Step(command, waits, signals),)
    return ParProgram(
        program.name,
        program.processor,
        program.inputs,
        program.outputs,
        program.constants,
        queues,
        program.used_bytes,
    )


@pytest.fixture(scope="session")
def legal() -> Legal:
    program = _program()
    return Legal(_processor(), program, _par(program))


class Around:
    """Makes a legal program around one command: loads for its reads, stores for its writes."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def __call__(
        self, engine: str, attributes: Attributes, reads: tuple[Region, ...], writes: tuple[Region, ...]
    ) -> Program:
        before, after, constants, outputs, at = [], [], [], [], 0
        operands: list[list[Region]] = [[], []]
        for role, regions in enumerate((reads, writes)):
            for index, region in enumerate(regions):
                home = dense("dram", at, region.shape, region.bits)
                at = home.end_bytes
                operands[role].append(home if region.memory == "dram" else region)
                if role == 0:
                    constants.append(
                        Binding(f"read{index}", dense("dram", home.offset_bytes, (at - home.offset_bytes,), 8), PLAIN)
                    )
                else:
                    outputs.append(Binding(f"write{index}", home, _result_format(attributes, region.bits)))
                if region.memory == "sram" and role == 0:
                    before.append(Command("dma_in", "around", (home,), (region,), Load()))
                elif region.memory == "sram":
                    after.append(Command("dma_out", "around", (region,), (home,), Store()))
        commands = (*before, Command(engine, "it", tuple(operands[0]), tuple(operands[1]), attributes), *after)
        used_bytes = {"dram": at, "sram": 1024}
        return Program(
            "around", "tiny", "opt", (), (), (), tuple(outputs), tuple(constants), commands, used_bytes
        )  # fmt: skip


def _result_format(attributes: Attributes, bits: int) -> Format:
    """The format that a command gives its result, or any of so many bits."""
    form = FLOAT32 if bits == 32 else Format(16) if bits == 16 else Format(bits, "code", levels=(1 << bits) - 1)
    if isinstance(attributes, Conv | Matmul | Eltwise):
        form = attributes.tail.output if attributes.tail.output.bits == bits else form
    return attributes.output if isinstance(attributes, Pool) and attributes.output.bits == bits else form


@pytest.fixture(scope="session")
def around() -> Around:
    return Around(_processor())
