"""Single passes on networks small enough to say what must come out."""

import numpy as np
import pytest
import torch
from torch import nn

import models
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.pipeline import check_switches
from nas.compiler.regions import reshaped
from nas.core.errors import InputError, Violation
from nas.hw.load import find_processor
from nas.ir.command import Conv, Copy
from nas.ir.tensor import Region, dense
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.sim.values import run_values
from tests.networks import random_arch

EDGE_NPU = find_processor("edge_npu")


def compiled_of(module: nn.Module, shape: tuple[int, ...]) -> Compiled:
    compiled = compile_network(module, shape, EDGE_NPU)
    assert not isinstance(compiled, Violation), str(compiled)
    return compiled


def test_conv_norm_activation_and_pool_are_one_command() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    program = compiled_of(network, (1, 3, 8, 8)).optimised
    assert len(program.operators) == 1
    (function,) = {operator.function for operator in program.operators}
    assert isinstance(function, Conv)
    assert function.tail.table
    assert function.tail.activation == "relu"
    assert function.tail.pool is not None


class _Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.left(x) + self.right(x))


def test_a_sum_joins_the_later_of_its_sides() -> None:
    program = compiled_of(_Sum(), (1, 4, 8, 8)).optimised
    assert [operator.layer for operator in program.operators] == ["left", "right"]
    (function,) = {operator.function for operator in program.operators if operator.layer == "right"}
    assert isinstance(function, Conv)
    assert function.tail.add is not None
    assert function.tail.activation == "relu"


class _Fire(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(4, 6, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.a(x), self.b(x)], 1)
        shuffled = joined.view(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8)
        return self.c(shuffled)


def test_concat_and_shuffle_move_nothing() -> None:
    compiled = compiled_of(_Fire(), (1, 4, 8, 8))
    assert not any(isinstance(command.attributes, Copy) for command in compiled.optimised.commands)
    stored = {command.layer for command in compiled.optimised.commands if command.op == "store"}
    assert stored == {"c"}


def test_an_unknown_switch_suggests_the_near_one() -> None:
    with pytest.raises(InputError, match="did you mean 'fuse'"):
        check_switches(["fsue"])


def test_parallel_is_faster_than_sequential_and_optimised_than_naive() -> None:

    for seed in range(3):
        compiled = compiled_of(
            models.build(random_arch(np.random.default_rng(seed), quantised=True), seed), (1, 3, 16, 16)
        )
        naive = simulate(compiled.naive, EDGE_NPU).cycles
        sequential = simulate(compiled.optimised, EDGE_NPU).cycles
        parallel = simulate_parallel(compiled.parallel, EDGE_NPU).cycles
        assert parallel < sequential < naive / 3


@pytest.mark.parametrize(
    ("region", "shape", "strides"),
    [
        (dense("sram", 0, (4, 6, 5), 8), (2, 2, 6, 5), (60, 30, 5, 1)),
        (dense("sram", 0, (4, 6, 5), 8), (120,), (1,)),
        (dense("sram", 0, (4, 6, 5), 4), (120,), None),
        (Region("sram", 0, (4, 6, 5), (100, 5, 1), 8), (4, 30), (100, 1)),
        (Region("sram", 0, (4, 6, 5), (100, 5, 1), 8), (24, 5), None),
    ],
)
def test_reshape_where_strides_can_say_it(
    region: Region, shape: tuple[int, ...], strides: tuple[int, ...] | None
) -> None:
    seen = reshaped(region, shape)
    assert (None if seen is None else seen.strides) == strides


class _Dense(nn.Module):
    """As in a DenseNet: every layer reads all maps before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1)
        self.layers = nn.ModuleList(nn.Conv2d(4 + 3 * place, 3, 3, padding=1) for place in range(4))
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.first(x)]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return self.last(torch.cat(maps, 1))


def test_nested_concats_lie_in_the_last_of_them() -> None:
    compiled = compiled_of(_Dense(), (1, 4, 8, 8))
    assert not any(isinstance(command.attributes, Copy) for command in compiled.optimised.commands)
    made = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]})
    for name, values in made.items():
        np.testing.assert_allclose(values, compiled.truth[name], atol=1e-5)


def test_one_pass_to_leave_out_may_be_a_word_of_its_own():
    assert check_switches("fuse") == {"fuse"} == check_switches(["fuse"])
    with pytest.raises(InputError, match=r"expected a pass, got 'fus'.*did you mean 'fuse'"):
        check_switches("fus")
