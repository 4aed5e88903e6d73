"""Whole little programs on byte memories: bindings, host calls, errors, and the order of the parallel form."""

import numpy as np
import pytest

from nas.core.errors import ContractError, InputError
from nas.ir.command import Command, Copy, Eltwise, Host, Load, Matmul, Pool, Store, Tail
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Binding, Program
from nas.ir.tensor import FLOAT32, Format, dense
from nas.sim.values import run_values, run_values_parallel

CODE = Format(4, "code", 0.5, 1, -8, 15)


def program(commands, inputs=(), outputs=(), constants=(), used=None):
    used = used or {"dram": 256, "sram": 256}
    return Program("tiny", "any", "front_end", (), (), tuple(inputs), tuple(outputs), tuple(constants), commands, used)


def moves(form=CODE):
    home, local, back = (
        dense("dram", 0, (2, 1, 3, 3), 4),
        dense("sram", 0, (2, 1, 3, 3), 4),
        dense("dram", 64, (18,), 4),
    )
    commands = (
        Command("dma_in", "a", (home,), (local,), Load()),
        Command("vector", "a", (local,), (dense("sram", 32, (18,), 4),), Copy()),
        Command("dma_out", "a", (dense("sram", 32, (18,), 4),), (back,), Store()),
    )
    return program(commands, [Binding("x", home, form)], [Binding("y", back, form)])


def test_inputs_are_encoded_and_outputs_decoded():
    x = np.linspace(-6, 6, 18, dtype=np.float32).reshape(2, 1, 3, 3)
    y = run_values(moves(), {}, {"x": x})["y"]
    assert np.array_equal(y, np.clip(np.rint(x.reshape(-1) * 2), -8, 7) / 2)
    assert y.dtype == np.float32


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "inputs.x: expected a tensor of this name, got none"),
        ({"x": np.zeros((1, 3, 3), np.float32)}, r"inputs.x: expected shape \(2, 1, 3, 3\), got \(1, 3, 3\)"),
        ({"x": np.zeros((2, 1, 3, 3), np.float32), "z": np.zeros(1, np.float32)}, "inputs.z: .*did you mean|inputs.z"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(InputError, match=message):
        run_values(moves(), {}, inputs)


@pytest.mark.parametrize(
    "constants", [{}, {"w": np.zeros(3, np.uint8)}, {"w": np.zeros(4, np.float32)}, {"W": np.zeros(16, np.uint8)}]
)
def test_constants_that_do_not_fit(constants):
    binding = Binding("w", dense("dram", 0, (4,), 32), FLOAT32)
    with pytest.raises(InputError, match=r"constants\.w"):
        run_values(program((), constants=[binding]), constants, {})


def test_host_gets_float_tensors_and_its_arguments():
    a, b, out = dense("dram", 0, (2, 3), 32), dense("dram", 24, (3,), 32), dense("dram", 64, (2, 3), 32)
    command = Command("host", "odd", (a, b), (out,), Host("test.add", "[[{}], {}]"))
    asked = []

    def host(function, arguments, tensors):
        asked.append((function, arguments))
        return [tensors[0] + tensors[1]]

    inputs = {"a": np.ones((2, 3), np.float32), "b": np.arange(3, dtype=np.float32)}
    bound = program((command,), [Binding("a", a, FLOAT32), Binding("b", b, FLOAT32)], [Binding("y", out, FLOAT32)])
    assert np.array_equal(run_values(bound, {}, inputs, host)["y"], inputs["a"] + inputs["b"])
    assert asked == [("test.add", "[[{}], {}]")]
    with pytest.raises(InputError, match=r"odd: host: expected a host function that knows test\.add"):
        run_values(bound, {}, inputs)
    with pytest.raises(ContractError, match="gave shapes"):
        run_values(bound, {}, inputs, lambda *_: [np.zeros(2, np.float32)])


@pytest.mark.parametrize(
    "command",
    [
        Command("vector", "l", (dense("sram", 0, (4,), 8),), (dense("sram", 8, (5,), 8),), Copy()),
        Command("vector", "l", (dense("sram", 0, (4, 4), 32),), (dense("sram", 64, (2, 4), 32),), Eltwise()),
        Command("vector", "l", (dense("sram", 0, (4, 4), 8),), (dense("sram", 64, (4, 4), 32),), Eltwise()),
        Command("vector", "l", (dense("sram", 0, (4, 4), 32),), (dense("sram", 64, (4, 4), 32),), Pool()),
        Command(
            "vector", "l", (dense("sram", 0, (2, 4), 32),), (dense("sram", 64, (2, 4), 32),), Eltwise(tail=Tail(True))
        ),
        Command("matrix", "l", (dense("sram", 0, (2, 4), 32),), (dense("sram", 64, (2, 4), 32),), Matmul()),
    ],
    ids=["amount", "shape", "bits", "rows", "table", "weights"],
)
def test_a_command_that_contradicts_itself_is_a_broken_contract(command):
    with pytest.raises(ContractError, match=r"of l |read as"):
        run_values(program((command,)), {}, {})


def parallel(queues, inputs, outputs):
    return ParProgram("tiny", "any", inputs, outputs, (), queues, {"dram": 256, "sram": 256})


def test_every_legal_order_gives_the_sequential_values():
    sequential = moves()
    load, copy, store = sequential.commands
    queues = {
        "dma_out": (Step(store, (1,)),),
        "vector": (Step(copy, (0,), (1,)),),
        "dma_in": (Step(load, (), (0,)),),
    }
    x = np.linspace(-6, 6, 18, dtype=np.float32).reshape(2, 1, 3, 3)
    expected = run_values(sequential, {}, {"x": x})["y"]
    for seed in range(5):
        program_ = parallel(queues, sequential.inputs, sequential.outputs)
        got = run_values_parallel(program_, {}, {"x": x}, np.random.default_rng(seed))["y"]
        assert np.array_equal(got, expected)


def test_a_race_shows_in_some_order():
    sequential = moves()
    load, copy, store = sequential.commands
    queues = {"dma_in": (Step(load),), "vector": (Step(copy, (), (1,)),), "dma_out": (Step(store, (1,)),)}
    x = np.zeros((2, 1, 3, 3), np.float32)
    racy = parallel(queues, sequential.inputs, sequential.outputs)
    results = {run_values_parallel(racy, {}, {"x": x}, np.random.default_rng(s))["y"].tobytes() for s in range(20)}
    assert len(results) == 2


def test_a_deadlock_names_the_blocked_steps():
    sequential = moves()
    load, copy, _ = sequential.commands
    queues = {"dma_in": (Step(load, (7,), (0,)),), "vector": (Step(copy, (0,), (7,)),)}
    with pytest.raises(ContractError, match=r"dma_in\[0\] \(load of a\) waits for 7; vector\[0\] \(copy of a\)"):
        run_values_parallel(
            parallel(queues, sequential.inputs, sequential.outputs),
            {},
            {"x": np.zeros((2, 1, 3, 3), np.float32)},
            np.random.default_rng(0),
        )
