"""Layers whose weights and maps are both larger than the chip: what stays, what passes, and how often."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.layout.flat import flat
from nas.compiler.opt.layout.operands import Operands
from nas.compiler.opt.plan.cut import Tiling, choose_tiling
from nas.compiler.opt.plan.tile import largest_tiles, tile_parts
from nas.compiler.precision import Precision
from nas.compiler.tiling import Tile
from nas.hw.load import find_processor
from nas.ir.command import Conv, Eltwise, Window
from nas.ir.tensor import Region, dense
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.sim.values import run_values
from nas.timing.bounds import program_bounds
from tests.processors import with_sram

EDGE_NPU = find_processor("edge_npu")
SMALL = msgspec.structs.replace(EDGE_NPU, sram=msgspec.structs.replace(EDGE_NPU.sram, size_bytes=32 * 1024, banks=1))


@pytest.mark.parametrize(("inputs", "outputs", "rows", "most"), [(64, 256, 6, 3.0), (16, 16, 40, 1.5)])
def test_what_is_dearer_stays(inputs: int, outputs: int, rows: int, most: float) -> None:
    """Many weights on few rows stay while the rows pass; few weights on many rows the other way round."""
    network = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1)).eval()
    compiled = compile_network(network, (1, inputs, rows, 16), SMALL)
    assert isinstance(compiled, Compiled)
    moved_bytes = simulate(compiled.optimised, SMALL).dram_bytes
    assert moved_bytes < most * program_bounds(compiled.optimised, SMALL).compulsory_bytes
    (name,) = (binding.name for binding in compiled.optimised.outputs)
    values = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]})[name]
    np.testing.assert_allclose(values, compiled.truth[name], atol=1e-4)


def test_weights_that_just_fit_the_chip_come_in_tiles() -> None:
    """In one, nothing would be worked on while they come: a classifier of 1 MB, on a chip of 768 KiB and of 1 MiB."""
    network = nn.Sequential(nn.Conv2d(3, 1024, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))
    network = network.eval().to("meta")
    cycles = []
    for kib in (768, 1024):
        compiled = compile_network(network, (1, 3, 7, 7), with_sram(kib), precision=Precision("int8"))
        assert isinstance(compiled, Compiled)
        cycles.append(simulate_parallel(compiled.parallel, with_sram(kib)).cycles)
    assert cycles[1] <= cycles[0]


@pytest.mark.parametrize("rows_inside", [True, False])
@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (3, 4), (7, 2), (4, 8)])
def test_every_output_is_made_once_and_turns_share_a_tile(rows: int, channels: int, rows_inside: bool) -> None:
    image = ((dense("0.0", 0, (3, 7, 5), 32), dense("1", 0, (8, 3, 1, 1), 32)), dense("0.out", 0, (8, 7, 5), 32))
    operands = Operands(Conv(Window()), (image, image), frozenset({"1"}))
    made = torch.zeros(2, 7, 8, dtype=torch.int)
    steps = list(Tiling(operands, rows, channels, rows_inside).steps())
    for number, tile in steps:
        made[number, slice(*tile.rows), slice(*tile.channels)] += 1
    assert (made == 1).all()
    for (image_before, before), (image_after, after) in pairwise(steps):
        assert (image_before, before.rows) == (image_after, after.rows) or before.channels == after.channels


def test_the_first_tile_counts_where_the_others_are_shorter() -> None:
    """Seven rows in tiles of four: the second one has three, and room for three is not enough."""
    data, result = (dense(slot, 0, (64, 7, 7), 8) for slot in ("0", "1"))
    assert largest_tiles(Operands(Eltwise(), (((data,), result),), frozenset()), 4, 64) == [Tile((0, 4), (0, 64))]
    assert len(largest_tiles(Operands(Eltwise(), (((data,), result),), frozenset()), 3, 64)) == 2
    for free_bytes in range(1000, 2 * 64 * 7 * 8, 100):
        operands = Operands(Eltwise(), (((data,), result),), frozenset())
        tiling = choose_tiling(operands, frozenset(), free_bytes, None, SMALL)
        _, tile = next(iter(tiling.steps()))
        assert sum(tile_parts(operands, tile, frozenset())) <= free_bytes


@pytest.mark.parametrize("bits", ["int8", "float"])
def test_a_tile_of_a_pointwise_convolution_is_any_number_of_places(bits: str) -> None:
    """A row of 96 channels leaves no room for a second one beside as many weights as the array has columns; parts of rows do."""
    torch.manual_seed(0)
    small = with_sram(8 if bits == "int8" else 24)
    network = nn.Sequential(nn.Conv2d(4, 96, 1), nn.ReLU(), nn.Conv2d(96, 64, 1)).eval()
    compiled = compile_network(network, (2, 4, 5, 61), small, precision=Precision(bits))
    assert isinstance(compiled, Compiled)
    made = [each.writes[0].shape for each in compiled.optimised.commands if each.layer == "2" and each.op == "conv"]
    assert any(columns == 1 and places % 61 for _, places, columns in made)
    (name,) = (binding.name for binding in compiled.optimised.outputs)
    inputs = {"input": compiled.truth["input"]}
    values = run_values(compiled.optimised, compiled.constants, inputs)[name]
    naive = run_values(compiled.naive, compiled.naive_constants, inputs)[name]
    np.testing.assert_allclose(values, naive, rtol=0, atol=0 if bits == "int8" else 1e-5)


@pytest.mark.parametrize(
    ("window", "bits", "strides"),
    [(Window((1, 1), (2, 2)), 8, (35, 5, 1)), (Window((3, 3)), 8, (35, 5, 1)), (Window(), 4, (42, 6, 1)), (Window(), 8, (70, 10, 1))],
    ids=["steps", "sees others", "rows of half bytes", "gaps between rows"],
)  # fmt: skip
def test_what_is_not_flat_stays_as_it_is(window: Window, bits: int, strides: tuple[int, int, int]) -> None:
    data = Region("0.0", 0, (3, 7, 5), strides, bits)
    out = dense("0.out", 0, (8, *window.output_size(7, 5)), bits)
    operands = Operands(Conv(window), (((data, dense("1", 0, (8, 3, *window.kernel), 8)), out),), frozenset({"1"}))
    assert flat(operands) is operands
