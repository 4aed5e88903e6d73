"""Activations go before max pools where that is the same and saves a command, and nowhere else."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.compiler.front_end.lower import network_of
from nas.compiler.front_end.tracing.trace import trace
from nas.compiler.precision import Precision, network_in
from tests.differential.test_compiler_against_torch import EDGE_NPU, check_values, compiled_of

SHAPE = (1, 3, 9, 9)
FIRST = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu(x, inplace=True),
    "method": lambda x: x.relu(),
    "relu6": F.relu6,
    "hard tanh": lambda x: F.hardtanh(x, -0.5, 0.25),
}


class Network(nn.Module):
    """A convolution and what `rest` does with its map."""

    def __init__(self, rest, norm=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Sequential(nn.Conv2d(3, 6, 3), *[nn.BatchNorm2d(6)] * norm)
        self.rest = rest
        self.eval()

    def forward(self, x):
        return self.rest(self.conv(x))


def operators(network, precision=None):
    lowered = network_of(network, (SHAPE,)) if precision is None else network_in(network, SHAPE, EDGE_NPU, precision)
    return [operator.function for operator in lowered.operators]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("pool", [lambda x: F.max_pool2d(x, 2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True)])
@pytest.mark.parametrize("activation", list(FIRST))
def test_both_orders_become_the_same_network(activation, pool, norm):
    act = FIRST[activation]
    after, before = Network(lambda x: act(pool(x)), norm), Network(lambda x: pool(act(x)), norm)
    assert operators(after) == operators(before)
    check_values(compiled_of(after, SHAPE), 1e-5)


def test_int8_spends_no_codes_on_what_the_activation_throws_away():
    network = Network(lambda x: F.relu(F.max_pool2d(x, 2)))
    outputs = [function.tail.output for function in operators(network, Precision("int8")) if hasattr(function, "tail")]
    assert [output.offset for output in outputs] == [0] * len(outputs)


def _twice(x):
    pooled = F.max_pool2d(x, 2)
    return F.relu(pooled) + pooled


def _read_before(x):
    return torch.cat([F.relu(F.max_pool2d(x, 2)), x[:, :, :3, :3]], 1)


@pytest.mark.parametrize(
    "rest",
    [
        lambda x: F.hardswish(F.max_pool2d(x, 2)),  # falls at first
        lambda x: F.relu(F.avg_pool2d(x, 2)),
        lambda x: F.relu(F.max_pool2d(torch.cat([x, x], 1), 2)),  # no convolution takes it in
        _twice,
        _read_before,
    ],
)
def test_elsewhere_the_order_stays(rest):
    network = Network(rest)
    names = [getattr(call.function, "__name__", "") for call in trace(network, (SHAPE,)).calls]
    check_values(compiled_of(network, SHAPE), 1e-5)
    kinds = [type(function).__name__ for function in operators(network)]
    pool, activation = kinds.index("Pool"), max(place for place, kind in enumerate(kinds) if kind == "Eltwise")
    assert pool < activation, names
