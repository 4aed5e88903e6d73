"""What cannot be compiled says which module and which line; what can keeps its modes, its names and its memory."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.cost.simulated import SimulatedCost
from nas.hw.load import find_processor
from nas.ir.program import Operator
from nas.sim.values import run_values

EDGE_NPU = find_processor("edge_npu")
SHAPE = (2, 3, 8, 8)


class _Block(nn.Module):
    """A block whose forward is `step`, somewhere deep in a network."""

    def __init__(self, step) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x)


def nested(step) -> nn.Module:
    return nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 4, 3), stages=nn.ModuleList([nn.ReLU(), _Block(step)])[1]))


def branch(x):
    if x.sum() > 0:
        return x
    return -x


def loop(x):
    for _ in range(int(x.max())):
        x = x + 1
    return x


def mask(x):
    return x[x > 0]


def change_a_view(x):
    y = x.flatten(1)
    y.add_(1)
    return x


def check_the_size(x):
    assert x.shape[2] == 224
    return x


REFUSED = {
    "an assertion": (check_the_size, "assert x.shape[2] == 224"),
    "a branch": (branch, "if x.sum() > 0:"),
    "item": (lambda x: x * x.mean().item(), "x.mean().item()"),
    "a loop": (loop, "for _ in range(int(x.max())):"),
    "nonzero": (lambda x: x.nonzero(), "x.nonzero()"),
    "a mask": (mask, "return x[x > 0]"),
    "a list": (lambda x: torch.tensor(x.tolist()), "x.tolist()"),
    "numpy": (lambda x: torch.from_numpy(x.numpy()), "x.numpy()"),
    "a view changed": (change_a_view, "changed in place"),
    "a library beside torch": (
        lambda x: torchvision.ops.remove_small_boxes(x.flatten(0, 1)[0, :, :4], 0.1),
        "torch.where(keep)",
    ),
    "other sizes": (lambda x: F.linear(x, torch.ones(2, 7)), "F.linear(x, torch.ones(2, 7))"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_depends_on_numbers_is_refused_with_module_and_line(name: str) -> None:
    step, line = REFUSED[name]
    with pytest.raises(InputError) as error:
        network_of(nested(step), (SHAPE,))
    assert "stages" in str(error.value), error.value
    assert line in str(error.value)
    if "in place" not in line and line != "torch.where(keep)":
        assert "test_trace.py:" in str(error.value)


def test_an_input_of_the_wrong_size_names_the_layer() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    assert network_of(module, ((1, 3, 8, 8),)).outputs
    for shape, layer in (
        ((1, 3, 9, 8), "Sequential.2"),
        ((1, 4, 8, 8), "Sequential.0"),
        ((1, 3, 2, 2), "Sequential.0"),
    ):
        with pytest.raises(InputError, match="an input that fits") as error:
            network_of(module, (shape,))
        assert str(error.value).startswith(f"{layer}:")


@pytest.mark.parametrize("broken", [nn.BatchNorm2d(5), nn.BatchNorm1d(4)])
def test_a_norm_of_other_channels_is_refused(broken: nn.Module) -> None:
    with pytest.raises(InputError, match="an input that fits"):
        network_of(nn.Sequential(nn.Conv2d(3, 4, 3), broken), (SHAPE,))


def _refusing(x: torch.Tensor) -> torch.Tensor:
    raise ValueError


def _attending(x: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(x, x[:, :, :, 1:], x)


@pytest.mark.parametrize(
    ("step", "line", "got"),
    [(_refusing, "raise ValueError", "got ValueError"), (_attending, "F.scaled_dot_product_attention", "got ")],
)
def test_what_fails_is_told_with_the_line_of_its_user(step, line: str, got: str) -> None:
    with pytest.raises(InputError) as error:
        network_of(nested(step), (SHAPE,))
    assert line in str(error.value)
    assert got in str(error.value)
    assert "/definitions/" not in str(error.value)


def test_changing_in_place_behind_a_view_is_seen_through_stand_ins_too() -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        F.relu6(x.flatten(1), inplace=True)
        return x

    with pytest.raises(InputError, match="changed in place"):
        network_of(nested(step), (SHAPE,))


def test_modes_come_back() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    module.train()
    module[1].eval()
    network = network_of(module, (SHAPE,))
    assert [inner.training for inner in module.modules()] == [True, True, False, True]
    assert len(network.operators) == 2  # the dropout is nothing
    with pytest.raises(InputError):
        network_of(nn.Sequential(module, nn.Linear(7, 7)), (SHAPE,))
    assert [inner.training for inner in module.modules()] == [True, True, False, True]


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(3, 2, 1)
        self.aux = nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.out(x)
        return OrderedDict(aux=y, out=self.aux(y), input=y.relu())


def test_outputs_have_the_keys_of_the_module() -> None:
    compiled = compile_network(_Named(), SHAPE, EDGE_NPU)
    assert isinstance(compiled, Compiled)
    assert [binding.name for binding in compiled.optimised.outputs][:2] == ["aux", "out"]
    truth = dict(compiled.truth)
    given = {"input": truth.pop("input")}
    for name, value in run_values(compiled.optimised, compiled.constants, given, run_on_host).items():
        np.testing.assert_allclose(value, truth[name], atol=1e-5)
    assert not np.allclose(truth["aux"], truth["out"])


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (0, 0, 0, 0, 0, 1))
        return self.norm(self.conv(x)) + self.norm(self.conv(self.norm(self.other(x))))


def test_shared_weights_are_stored_once_and_shared_norms_fold_apart() -> None:
    module = _Shared()
    nn.init.normal_(module.norm.bias)
    compiled = compile_network(module, SHAPE, EDGE_NPU)
    assert isinstance(compiled, Compiled)
    weights = [binding.name for binding in compiled.naive.constants if binding.name.endswith("weight")]
    assert weights == ["conv.weight", "other.weight"]
    truth = dict(compiled.truth)
    given = {"input": truth.pop("input")}
    for name, value in run_values(compiled.optimised, compiled.constants, given, run_on_host).items():
        np.testing.assert_allclose(value, truth[name], atol=1e-5)


def test_float_weights_are_not_copied() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5))
    constants = network_of(module, (SHAPE,)).constants
    for name in ("0.weight", "2.weight"):
        assert np.shares_memory(constants[name], module.get_parameter(name).detach().numpy())


def test_a_network_without_numbers_has_a_cost() -> None:
    def build() -> nn.Module:
        gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), _Gated(gate), nn.Flatten(), nn.Linear(288, 5))

    with torch.device("meta"):
        module = build()
    network = network_of(module, (SHAPE,))
    assert not network.constants
    assert any(tensor.role == "constant" for tensor in network.tensors.values())
    cost = SimulatedCost(EDGE_NPU).cost(module, SHAPE)
    assert isinstance(cost, Cost)
    assert cost == SimulatedCost(EDGE_NPU).cost(build(), SHAPE)


class _Gated(nn.Module):
    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x) * 2.0


@pytest.mark.parametrize("layers", [(), (nn.ReLU(),)])
def test_an_operator_that_no_library_has(layers) -> None:
    """A module of functions that the host can't find by name is refused, not miscompiled."""
    with pytest.raises(InputError, match="real numbers"):
        network_of(nn.Sequential(nn.Conv2d(3, 4, 3), _Block(lambda x: torch.fft.fft(x).real), *layers), (SHAPE,))


def operators_on_host(operators: tuple[Operator, ...]) -> list[str]:
    return [operator.layer for operator in operators if operator.function.__struct_config__.tag == "host"]


def test_the_host_is_named_by_layer() -> None:
    network = network_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardshrink(), nn.LayerNorm([4, 6, 6])), (SHAPE,))
    assert operators_on_host(network.operators) == ["1", "2"]
