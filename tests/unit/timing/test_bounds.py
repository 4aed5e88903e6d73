"""Lower bounds of whole programs: by hand, and below what an exhaustive split of the work reaches."""

import itertools
import math

import msgspec
import pytest

from nas.core.errors import ContractError
from nas.hw.spec import Dram, Energies, Host, Matrix, Processor, Sram, Vector
from nas.ir.command import Conv, Matmul, Window
from nas.ir.command import Host as HostCall
from nas.ir.program import Concat, Operator, Program, View
from nas.ir.tensor import FLOAT32, Format, Tensor
from nas.timing.bounds import Bounds, program_bounds
from nas.timing.matrix import ARRAY_DATAFLOWS, array_cycles
from nas.timing.peak import Product, peak_macs

CODE8, CODE4 = Format(8, "code", levels=255), Format(4, "code", levels=15)
SMALL = Processor(
    "small", 1e9, 5, Dram(1 << 20, 4e9, 10e-9), Sram(1 << 16, 4, 8), Matrix(8, 8), Vector(4), Host(1e9, 1e-6),
    Energies("made up", 1, 1, 1, 1, 1, 1),
)  # fmt: skip


def program(tensors, operators):
    return Program("p", "small", "front_end", tuple(tensors), tuple(operators), (), (), (), (), {})


TENSORS = [
    Tensor("x", (2, 8, 10, 10), CODE8, "input"),
    Tensor("w", (16, 8, 3, 3), CODE4, "constant"),
    Tensor("unused", (1000,), FLOAT32, "constant"),
    Tensor("h", (2, 16, 8, 8), CODE8),
    Tensor("y", (2, 16, 8, 8), CODE8, "output"),
]
CONV = Operator("c", Conv(Window((3, 3)), input=CODE8, weight=CODE4), ("x", "w"), ("y",))
CONV_TO_H = msgspec.structs.replace(CONV, outputs=("h",))


def test_one_convolution():
    macs = 2 * 16 * 64 * 72
    moved = 2 * 800 + 16 * 72 // 2 + 2 * 1024
    # 64 cells for 128 pixels, which take 14 cycles more to fill and drain, and four lanes.
    compute = math.ceil(macs / (64 * 128 / 142 + 4))
    assert program_bounds(program(TENSORS, [CONV]), SMALL) == Bounds(compute, moved // 4, 0, macs, moved)


def test_the_bound_is_the_largest():
    assert Bounds(3, 5, 4, 0, 0).cycles == 5
    assert program_bounds(program([], []), SMALL).cycles == 0


def test_depthwise_may_serve_several_outputs_with_one_row():
    depthwise = Operator("d", Conv(Window((3, 3)), 8, CODE8, CODE8), ("x", "k"), ("z",))
    tensors = [*TENSORS, Tensor("k", (8, 1, 3, 3), CODE8, "constant"), Tensor("z", (2, 8, 8, 8), CODE8)]
    bounds = program_bounds(program(tensors, [depthwise]), SMALL)
    assert bounds.macs == 2 * 8 * 64 * 9
    assert bounds.compute_cycles >= bounds.macs / (64 + 4)
    # One place at a time: 8 * 9 rows, each with one output, would take longer.
    assert bounds.compute_cycles < bounds.macs / (8 + 4)


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize(
    ("kernel", "stride", "inputs", "outputs"), [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 1, 1), (3, 1, 4, 2)]
)
def test_no_layout_of_the_weights_beats_the_array(size, kernel, stride, inputs, outputs):
    """A block of v x u neighbouring outputs is one pixel of a wider convolution, whose weights are repeated with zeros."""
    matrix, groups, height, width = Matrix(size, size), 16, 48, 48
    processor = msgspec.structs.replace(SMALL, matrix=matrix, vector=Vector(1))
    tensors = [
        Tensor("x", (1, groups * inputs, height, width), CODE8, "input"),
        Tensor("k", (groups * outputs, inputs, kernel, kernel), CODE8, "constant"),
        Tensor("h", (1, groups * outputs, height // stride, width // stride), CODE8),
    ]
    window = Window((kernel, kernel), (stride, stride), ((kernel - 1) // 2,) * 4)
    operator = Operator("d", Conv(window, groups, CODE8, CODE8), ("x", "k"), ("h",))
    bound = program_bounds(program(tensors, [operator]), processor)
    pixels = height // stride * (width // stride)
    assert bound.macs == pixels * groups * outputs * inputs * kernel * kernel
    cycles = {}
    for rows, columns in itertools.product((1, 2, 3, 4, 6, 8), repeat=2):
        terms = inputs * (stride * (rows - 1) + kernel) * (stride * (columns - 1) + kernel)
        for dataflow in ARRAY_DATAFLOWS:
            cycles[rows, columns, dataflow] = array_cycles(
                pixels // (rows * columns), terms, rows * columns * outputs, groups, dataflow, matrix, (1, 1)
            )
    lanes_cycles = bound.macs / processor.vector.lanes
    best = min(cycles.values())
    assert bound.compute_cycles <= best * lanes_cycles / (best + lanes_cycles)
    if size == 32 and stride == 1:
        assert best < bound.macs / (size * outputs)  # better than one sum a row


def test_looks_of_other_shapes_at_one_map_are_other_tensors():
    """The same view as a map that is convolved and as the weights of that: 4 x 16 numbers, and 4 kernels of 16."""
    tensors = [
        Tensor("x", (1, 4, 4, 4), CODE8, "input"),
        Tensor("t", (1, 4, 16), CODE8),
        Tensor("a", (1, 16, 4, 1), CODE8),
        Tensor("b", (1, 4, 16, 1, 1), CODE8),
        Tensor("y", (1, 4, 4, 1), CODE8, "output"),
    ]
    look, turned = View((4, 16), (0, 1)), View((4, 16), (1, 0))
    operators = [
        Operator("t", look, ("x",), ("t",)),
        Operator("a", turned, ("x",), ("a",)),
        Operator("b", look, ("x",), ("b",)),
        Operator("c", Conv(Window(), 1, CODE8, CODE8), ("a", "b"), ("y",)),
    ]
    peak = peak_macs(Product(1, (4, 1), (1, 1), (1, 1), 16, 4, 1), SMALL.matrix, (1, 1))
    assert program_bounds(program(tensors, operators), SMALL).compute_cycles == math.ceil(256 / (peak + 4) - 1e-6)


def test_host_calls_add_up():
    call = Operator("h", HostCall("f"), ("x",), ("h",))
    assert program_bounds(program(TENSORS, [call, call]), SMALL).host_cycles == 2 * (1000 + 1600 + 2048)


def test_what_the_host_moves_by_itself_takes_no_bandwidth():
    """Weights that it alone reads, and its result, also where a concat shows it; what an engine reads or makes is transferred."""
    tensors = [*TENSORS[:4], Tensor("v", (500,), FLOAT32, "constant"), Tensor("b", (2, 16, 8, 8), CODE8)]
    tensors += [Tensor("y", (2, 32, 8, 8), CODE8, "output")]
    operators = [
        CONV_TO_H,
        Operator("f", HostCall("f"), ("x", "v"), ("b",)),
        Operator("cat", Concat(), ("h", "b"), ("y",)),
    ]
    bounds = program_bounds(program(tensors, operators), SMALL)
    assert bounds.compulsory_bytes == 2 * 800 + 16 * 72 // 2 + 4 * 500 + 2 * 2048
    assert bounds.traffic_cycles == (2 * 800 + 16 * 72 // 2 + 2048) // 4
    behind_view = [
        Operator("v", View((500,), (0,)), ("v",), ("w2",)),
        Operator("f", HostCall("f"), ("w2",), ("y",)),
    ]
    alone = [tensors[4], Tensor("w2", (1, 500), FLOAT32), Tensor("y", (1, 500), FLOAT32, "output")]
    assert program_bounds(program(alone, behind_view), SMALL).traffic_cycles == 0


@pytest.mark.parametrize(("first_bits", "second_bits"), [(8, 8), (8, 32), (32, 8), (16, 32)])
def test_the_best_split_between_the_engines_is_found(first_bits, second_bits):
    """A grid over how much of each of two operators goes to the matrix engine never beats the bound, and comes close."""
    formats = {8: CODE8, 16: Format(16), 32: FLOAT32}
    slices = {8: 1, 16: 4, 32: 16}
    tensors = [
        Tensor("a", (1, 64), FLOAT32, "input"),
        Tensor("v", (64, 64), FLOAT32, "constant"),
        Tensor("w", (96, 64), FLOAT32, "constant"),
        Tensor("b", (1, 64), FLOAT32),
        Tensor("c", (1, 96), FLOAT32),
    ]
    operators = [
        Operator("1", Matmul(formats[first_bits], formats[first_bits]), ("a", "v"), ("b",)),
        Operator("2", Matmul(formats[second_bits], formats[second_bits]), ("a", "w"), ("c",)),
    ]
    processor = msgspec.structs.replace(SMALL, vector=Vector(8))
    macs = (64 * 64, 64 * 96)
    passes = (slices[first_bits], slices[second_bits])
    products = [Product(1, (1, 1), (1, 1), (1, 1), 64, channels, 1) for channels in (64, 96)]
    peaks = [
        peak_macs(product, processor.matrix, (slowed, 1)) for product, slowed in zip(products, passes, strict=True)
    ]
    grid = [i / 200 for i in range(201)]
    best = min(
        max(
            sum(share * m / peak for share, m, peak in zip((s, t), macs, peaks, strict=True)),
            sum((1 - share) * m / 8 for share, m in zip((s, t), macs, strict=True)),
        )
        for s in grid
        for t in grid
    )
    bound = program_bounds(program(tensors, operators), processor).compute_cycles
    assert bound <= best + 1
    assert bound >= 0.98 * best


def test_an_operator_without_its_tensor_is_a_broken_contract():
    with pytest.raises(ContractError, match="reads 'w', which is no tensor"):
        program_bounds(program(TENSORS[:1], [CONV]), SMALL)
