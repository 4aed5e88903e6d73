"""The dataflow of a layer and of its parts: the quickest of those that are switched on, with the same numbers in all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.engines.select import cheapest
from nas.compiler.opt.pipeline import SWITCHES
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.ir.command import Command, Conv, Dataflow, Matmul, Window
from nas.ir.schema import read_program, write_program
from nas.ir.tensor import Format, Region, dense
from nas.ir.text import program_from_text, program_to_text
from nas.sim.values import run_values
from nas.timing.cycles import command_cycles
from nas.timing.matrix import ARRAY_DATAFLOWS

EDGE_NPU = find_processor("edge_npu")
CODE = Format(8, "code", levels=255)


def conv(channels: int, terms: int, size: int) -> tuple[Conv, tuple[Region, ...], Region]:
    """A 1x1 convolution of a map of `size` x `size`."""
    reads = dense("sram", 0, (terms, size, size), 8), dense("sram", 0, (channels, terms, 1, 1), 8)
    return Conv(Window(), 1, CODE, CODE), reads, dense("sram", 0, (channels, size, size), 32)


@pytest.mark.parametrize(
    ("channels", "terms", "size", "expected"),
    [
        (32, 64, 56, "weight_stationary"),  # 3136 pixels stream by weights that are loaded twice
        (64, 960, 7, "output_stationary"),  # 960 terms stream into 49 pixels of sums
        (960, 160, 7, "input_stationary"),  # 960 channels stream by 49 pixels of the map
        (1000, 320, 1, "input_stationary"),
    ],
)
def test_the_quickest_is_chosen(channels: int, terms: int, size: int, expected: Dataflow) -> None:
    function, reads, write = conv(channels, terms, size)
    best, cycles = cheapest(function, reads, write, ARRAY_DATAFLOWS, EDGE_NPU)
    tried = {
        dataflow: command_cycles(
            Command("matrix", "", reads, (write,), Conv(Window(), 1, CODE, CODE, dataflow=dataflow)), EDGE_NPU
        )
        for dataflow in ARRAY_DATAFLOWS
    }
    assert best.dataflow == expected
    assert cycles == tried[expected] == min(tried.values())
    assert list(tried.values()).count(cycles) == 1


class _Late(nn.Module):
    """A late block: few pixels, more channels than terms and back; then a classifier of several images at once."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise = nn.Conv2d(48, 288, 1), nn.Conv2d(288, 288, 3, padding=1, groups=288)
        self.project, self.classifier = nn.Conv2d(288, 48, 1), nn.Linear(48, 700)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.project(torch.relu(self.depthwise(torch.relu(self.expand(x)))))
        return self.classifier(x.mean((2, 3)))


def compiled_without(*switched_off: str) -> Compiled:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = _Late().eval()
    precision = Precision("int8")
    made = compile_network(network, (4, 48, 7, 7), EDGE_NPU, switched_off=frozenset(switched_off), precision=precision)
    assert isinstance(made, Compiled)
    return made


def used(made: Compiled) -> set[str]:
    matrix = (each.attributes for each in made.optimised.commands if each.engine == "matrix")
    return {each.dataflow for each in matrix if isinstance(each, Conv | Matmul)}


def test_few_pixels_and_many_channels_stream_by_the_map() -> None:
    """In stripes, too, but there other ways take as long."""
    assert "input_stationary" in used(compiled_without("stripes"))


def test_each_can_be_forbidden_and_forced_with_the_same_numbers() -> None:
    usual = compiled_without()
    inputs = {"input": usual.truth["input"]}
    expected = run_values(usual.optimised, usual.constants, inputs)
    for dataflow in ARRAY_DATAFLOWS:
        assert dataflow in SWITCHES
        others = {each for each in ARRAY_DATAFLOWS if each != dataflow}
        for off, allowed in ({dataflow}, others), (others, {dataflow}):
            made = compiled_without(*off)
            assert used(made)
            assert used(made) <= allowed
            got = run_values(made.optimised, made.constants, inputs)
            for name, values in expected.items():
                np.testing.assert_array_equal(got[name], values)


def test_with_all_forbidden_the_lanes_do_everything() -> None:
    assert used(compiled_without(*ARRAY_DATAFLOWS)) == set()


def test_without_the_pass_all_weights_lie_still() -> None:
    assert used(compiled_without("select")) == {"weight_stationary"}


def test_files_and_assembly_know_it(tmp_path: Path) -> None:
    program = compiled_without("weight_stationary", "output_stationary").optimised
    write_program(tmp_path / "cmds-o.json", program)
    assert read_program(tmp_path / "cmds-o.json") == program
    text = program_to_text(program)
    assert "dataflow=input_stationary" in text
    assert program_from_text(text) == program
