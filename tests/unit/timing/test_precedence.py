"""Weights that wait: by hand, against every element followed one by one, and below what compiled programs take."""

import math

import msgspec
import numpy as np
import pytest
from torch import nn

import models
from nas.compiler.front_end.lower import network_of
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.pipeline import parallelise
from nas.core.errors import DoesNotFit
from nas.hw.load import find_processor
from nas.ir.command import Conv, Eltwise, Matmul, Pool, Tail, Window
from nas.ir.program import Operator, Program, View
from nas.ir.tensor import Format, Tensor
from nas.sim.parallel import simulate_parallel
from nas.timing.bounds import program_bounds
from nas.timing.precedence import _before, _met_bytes
from tests.networks import RandomNetwork, random_arch

CODE = Format(8, "code", levels=255)
EDGE_NPU = find_processor("edge_npu")


def network(generator: np.random.Generator) -> tuple[list[Operator], dict[str, Tensor]]:
    """A random chain of windows, with a sum and a gate now and then, and a matrix product at the end."""
    tensors = {"0": Tensor("0", (1, int(generator.integers(1, 4)), 8, 7), CODE, "input")}
    operators: list[Operator] = []

    def add(function: object, inputs: tuple[str, ...], shape: tuple[int, ...]) -> str:
        name = str(len(operators) + 1)
        operators.append(Operator(name, function, inputs, (name,)))
        tensors[name] = Tensor(name, shape, CODE)
        return name

    current, older = "0", ""
    for step in range(int(generator.integers(2, 6))):
        _, channels, height, width = tensors[current].shape
        kernel = int(generator.integers(1, 4))
        window = Window(
            (kernel, kernel), (int(generator.integers(1, 3)),) * 2, (int(generator.integers(0, kernel)),) * 4
        )
        rows, columns = window.output_size(height, width)
        if rows < 1 or columns < 1:
            continue
        kind = generator.integers(4)
        if kind == 3:
            current = add(Pool("mean", window, input=CODE, output=CODE), (current,), (1, channels, rows, columns))
            continue
        groups = channels if kind == 2 else 1
        outputs = channels if kind == 2 else int(generator.integers(1, 4))
        weights = f"w{step}"
        tensors[weights] = Tensor(weights, (outputs, channels // groups, kernel, kernel), CODE, "constant")
        tail = Tail(output=CODE)
        inputs = (current, weights)
        if older and tensors[older].shape == (1, outputs, rows, columns):
            tail, inputs = Tail(add=CODE, output=CODE), (current, weights, older)
        older = current
        current = add(Conv(window, groups, CODE, CODE, tail), inputs, (1, outputs, rows, columns))
    _, channels, height, width = tensors[current].shape
    gate = add(Pool("mean", Window((height, width)), input=CODE, output=CODE), (current,), (1, channels, 1, 1))
    current = add(Eltwise(CODE, Tail(multiply=CODE, output=CODE)), (current, gate), (1, channels, height, width))
    current = add(Pool("mean", Window((height, width)), input=CODE, output=CODE), (current,), (1, channels, 1, 1))
    current = add(View((channels,), (0,)), (current,), (1, channels))
    tensors["m"] = Tensor("m", (5, channels), CODE, "constant")
    add(Matmul(CODE, CODE), (current, "m"), (1, 5))
    return operators, tensors


def follow(element: int, index: int, operators: list[Operator], tensors: dict[str, Tensor]) -> tuple[int, dict]:
    """The bytes of weights behind operator `index` that meet one element of its result, and what depends on it."""
    name = operators[index].outputs[0]
    touched = {name: np.zeros(tensors[name].shape[1:], bool)}
    touched[name].reshape(-1)[element] = True
    met = 0
    for operator in operators[index + 1 :]:
        out = np.zeros(tensors[operator.outputs[0]].shape[1:], bool)
        data = touched.get(operator.inputs[0])
        function = operator.function
        if data is not None and isinstance(function, Conv | Pool):
            window = function.window
            weights = tensors[operator.inputs[1]].shape if isinstance(function, Conv) else (len(out), 1, *window.kernel)
            used = np.zeros(weights, bool)
            by_channel = isinstance(function, Pool) or function.groups > 1
            for n, p, q in np.ndindex(out.shape):
                for c, k, m in np.ndindex(*weights[1:]):
                    channel = n if by_channel else c
                    row, column = (
                        p * window.stride[0] + k - window.padding[0],
                        q * window.stride[1] + m - window.padding[1],
                    )
                    inside = 0 <= row < data.shape[1] and 0 <= column < data.shape[2]
                    if inside and data[channel, row, column]:
                        used[n, c, k, m] = out[n, p, q] = True
            met += int(used.sum()) if isinstance(function, Conv) else 0
        elif data is not None and isinstance(function, Matmul):
            met += int(data.sum()) * len(out)
            out[:] = data.any()
        elif data is not None and isinstance(function, View):
            out |= data.reshape(out.shape)
        elif data is not None:
            out |= data
        for term in operator.inputs[1:]:
            if term in touched:
                out |= touched[term]
        if out.any():
            touched[operator.outputs[0]] = out
    return met, touched


def some_of(elements: int) -> list[int]:
    """The corners, and some between."""
    return sorted({0, elements - 1, *range(6, elements, max(7, elements // 6))})


@pytest.mark.parametrize("seed", range(9))
def test_every_element_meets_at_least_what_is_counted(seed: int) -> None:
    operators, tensors = network(np.random.default_rng(seed))
    for index, operator in enumerate(operators):
        elements = some_of(math.prod(tensors[operator.outputs[0]].shape))
        least = min(follow(element, index, operators, tensors)[0] for element in elements)
        assert _met_bytes(index, operator.outputs[0], tuple(operators), tensors, tensors) <= least


@pytest.mark.parametrize("seed", range(9))
def test_all_that_counts_as_before_has_a_part_in_the_result(seed: int) -> None:
    operators, tensors = network(np.random.default_rng(seed))
    for last, operator in enumerate(operators):
        for index in _before(last, tuple(operators), tensors):
            for element in some_of(math.prod(tensors[operators[index].outputs[0]].shape)):
                assert operator.outputs[0] in follow(element, index, operators, tensors)[1]


def test_a_large_matrix_after_much_work_waits_for_it() -> None:
    """Any element of the first map has a part in all channels of the second, and these meet all of the matrix.

    The sram holds an eighth of it.
    """
    tensors = {
        "x": Tensor("x", (1, 32, 64, 64), CODE, "input"),
        "k": Tensor("k", (32, 32, 3, 3), CODE, "constant"),
        "m": Tensor("m", (4096, 32), CODE, "constant"),
        "y": Tensor("y", (1, 4096), CODE, "output"),
        "h": Tensor("h", (1, 32, 64, 64), CODE),
        "i": Tensor("i", (1, 32, 64, 64), CODE),
        "j": Tensor("j", (32, 32, 1, 1), CODE, "constant"),
        "p": Tensor("p", (1, 32, 1, 1), CODE),
        "v": Tensor("v", (1, 32), CODE),
    }
    operators = (
        Operator("c", Conv(Window((3, 3), padding=(1, 1, 1, 1)), 1, CODE, CODE), ("x", "k"), ("h",)),
        Operator("d", Conv(Window(), 1, CODE, CODE), ("h", "j"), ("i",)),
        Operator("p", Pool("mean", Window((64, 64)), input=CODE, output=CODE), ("i",), ("p",)),
        Operator("v", View((32,), (0,)), ("p",), ("v",)),
        Operator("m", Matmul(CODE, CODE), ("v", "m"), ("y",)),
    )
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=4096 * 32 // 8)
    processor = msgspec.structs.replace(EDGE_NPU, sram=sram)
    bounds = program_bounds(
        Program("p", "edge_npu", "opt", tuple(tensors.values()), operators, (), (), (), (), {}), processor
    )
    # A fold lasts 62 cycles longer than its stream.
    macs, late_bytes = 64 * 64 * 32 * 32 * 9, 32 + 4096 * 32 - 4096 * 32 // 8
    peak = 1024 * 4096 / (4096 + 62)
    assert bounds.waiting_cycles == pytest.approx(macs / (peak + 32) + late_bytes / 5, abs=2)
    assert bounds.cycles == bounds.waiting_cycles > max(bounds.compute_cycles, bounds.traffic_cycles)


@pytest.mark.parametrize("seed", range(16))
def test_no_compiled_program_is_faster(seed: int) -> None:
    """Little sram and bandwidth, so that loading is much of the work and little of it can be done early."""
    generator = np.random.default_rng(seed)
    module: nn.Module = models.build(random_arch(generator, quantised=bool(seed % 3)), seed)
    size = 32
    if seed % 4 == 0:
        module, size = RandomNetwork(generator), 16
    for kib in (6, 12, 48):
        sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=kib * 1024, banks=1)
        dram = msgspec.structs.replace(EDGE_NPU.dram, bandwidth_bytes_per_s=4e9 / (1 + seed % 5), latency_s=0.0)
        processor = msgspec.structs.replace(EDGE_NPU, sram=sram, dram=dram, issue_cycles=0)
        try:
            program, _ = optimise(network_of(module, ((1, 3, size, size),)), processor)
        except DoesNotFit:
            continue
        assert simulate_parallel(parallelise(program), processor).cycles >= program_bounds(program, processor).cycles
