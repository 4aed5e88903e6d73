"""Deep convolutions in parts: where tiles as wide as the array do not fit beside each other, and what that is worth."""

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.opt.rewrite.shallow import Shallow
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision, network_to_price
from nas.hw.spec import Processor
from nas.ir.command import Conv
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values
from tests.processors import EDGE_NPU, with_sram

OFF = frozenset(["shallow"])


def head(depth: int = 256) -> nn.Module:
    """As of a segmenting network: many channels in, few of them out, with batch norm and activation behind."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, depth, 3, padding=1), nn.ReLU(), nn.Conv2d(depth, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()
    ).eval()


def passed(module: nn.Module, processor: Processor) -> Network:
    return run_passes(PASSES, network_to_price(module, (1, 3, 20, 20), processor, "int8"), processor)


def depths(network: Network) -> list[int]:
    found = [each for each in network.operators if isinstance(each.function, Conv)]
    return [network.tensors[each.inputs[1]].shape[1] for each in found]


def test_deep_operators_are_cut_and_others_are_not() -> None:
    network = passed(head(), with_sram(72))
    assert depths(network) == [3, 256]
    parts = depths(Shallow().run(network, with_sram(72)))
    assert parts[0] == 3
    assert sum(parts[1:]) == 256
    assert len(parts) > 2
    assert all(part % EDGE_NPU.matrix.rows == 0 for part in parts[1:])
    roomy = passed(head(), EDGE_NPU)
    assert Shallow().run(roomy, EDGE_NPU) is roomy
    grouped = nn.Sequential(nn.Conv2d(3, 256, 1), nn.Conv2d(256, 256, 5, padding=2, groups=8)).eval()
    network = passed(grouped, with_sram(72))
    assert Shallow().run(network, with_sram(72)) is network


@pytest.mark.parametrize("kib", [48, 64, 72])
def test_the_array_is_filled(kib: int) -> None:
    processor = with_sram(kib)
    network = passed(head(), processor)
    programs = [optimise(network, processor, off)[0] for off in (frozenset[str](), OFF)]
    for program in programs:
        raise_findings(check_program(program, processor), "shallow")
    on, off = (simulate_parallel(parallelise(each), processor).cycles for each in programs)
    assert on < 0.9 * off


@pytest.mark.parametrize("latency_s", [0.0, 1e-6])
def test_sums_that_stay_on_the_chip_cost_no_way_through_the_dram(latency_s: float) -> None:
    """A wide array, of which a tile with all the inputs fills an eighth: parts keep it busy, whatever a transfer costs."""
    replace, edge = msgspec.structs.replace, with_sram(600)
    processor = replace(
        edge,
        matrix=replace(edge.matrix, rows=32, columns=256),
        sram=replace(edge.sram, port_bytes=512),
        dram=replace(edge.dram, bandwidth_bytes_per_s=16e9, latency_s=latency_s),
    )
    module = nn.Sequential(nn.Conv2d(1536, 3072, 1), nn.ReLU()).to("meta")
    network = network_to_price(module, (1, 1536, 4, 4), processor, "float")
    on, off = (
        simulate_parallel(parallelise(optimise(network, processor, switched_off)[0]), processor).cycles
        for switched_off in (frozenset[str](), OFF)
    )
    assert on < 0.7 * off


def test_the_numbers_are_the_same() -> None:
    results, operators = [], []
    for off in (frozenset[str](), OFF):
        compiled = compile_network(head(), (2, 3, 20, 20), with_sram(72), switched_off=off, precision=Precision("int8"))
        assert isinstance(compiled, Compiled)
        operators.append(len(compiled.optimised.operators))
        results.append(run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]}))
    assert operators[0] > operators[1]
    on, expected = results
    for name in expected:
        np.testing.assert_array_equal(on[name], expected[name])
