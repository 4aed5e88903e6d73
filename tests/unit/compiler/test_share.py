"""Both engines at work on one operator: every output made once, in less time, with the same numbers."""

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.engines.share import PLAIN, Pace, parts_on_engines
from nas.compiler.precision import Precision
from nas.compiler.tiling import Part, engine_of
from nas.hw.load import find_processor
from nas.ir.command import Command, Conv, Window
from nas.ir.tensor import Format, Region, dense
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values
from nas.timing.cycles import command_cycles

EDGE_NPU, SERVER_NPU = find_processor("edge_npu"), find_processor("server_npu")
CODE = Format(8, "code", levels=255)


def conv(channels: int, size: int, groups: int, kernel: int, dataflow: str) -> tuple[Conv, tuple[Region, ...], Region]:
    padding = (kernel // 2,) * 4
    function = Conv(Window((kernel, kernel), padding=padding), groups, CODE, CODE, dataflow=dataflow)
    data, weights = (channels, size, size), (channels, channels // groups, kernel, kernel)
    return function, (dense("a", 0, data, 8), dense("w", 0, weights, 8)), dense("b", 0, data, 32)


@pytest.mark.parametrize("lead_cycles", [0, 3000, 10**9])
@pytest.mark.parametrize("chunk", [0, 32])
@pytest.mark.parametrize(
    ("processor", "kind"),
    [
        (EDGE_NPU, conv(96, 28, 96, 3, "lanes")),
        (EDGE_NPU, conv(64, 14, 1, 1, "weight_stationary")),
        (SERVER_NPU, conv(32, 56, 1, 1, "weight_stationary")),
        (SERVER_NPU, conv(32, 28, 2, 3, "weight_stationary")),
    ],
)
def test_every_output_is_made_once_and_sooner(processor, kind, chunk, lead_cycles) -> None:
    function, reads, write = kind
    parts = parts_on_engines(Part(function, reads, write), Pace(chunk, lead_cycles), PLAIN, processor)
    made = np.zeros(write.shape, int)
    busy = {"matrix": 0, "vector": 0}
    for part in parts:
        at = np.unravel_index(part.write.offset_bytes // 4, write.shape)
        made[tuple(slice(start, start + size) for start, size in zip(at, part.write.shape, strict=True))] += 1
        engine = engine_of(part.function)
        busy[engine] += command_cycles(Command(engine, "", part.reads, (part.write,), part.function), processor)
    assert (made == 1).all()
    alone = command_cycles(Command(engine_of(function), "", reads, (write,), function), processor)
    shared = busy["matrix"] > 0 and busy["vector"] > 0
    # A part on the array pays the way through it, so that what is shared may not be much worse than it was.
    assert not shared or busy["vector"] < alone * 1.1
    if shared:
        assert max(busy["vector"], busy["matrix"] + (lead_cycles if function.dataflow == "lanes" else 0)) < alone * 1.1
    assert lead_cycles < 10**9 or not shared


def depthwise_blocks() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 24, 1),
            nn.Conv2d(24, 144, 1),
            nn.ReLU6(),
            nn.Conv2d(144, 144, 3, padding=1, groups=144),
            nn.ReLU6(),
            nn.Conv2d(144, 24, 1),
        ).eval()


@pytest.mark.parametrize(("sram_bytes", "bandwidth"), [(512 << 10, 4e9), (48 << 10, 16e9)])
def test_depthwise_blocks_take_four_fifths_of_the_time(sram_bytes: int, bandwidth: float) -> None:
    """With maps on chip, channel by channel; with maps in stripes, one after the other, and a dram that is no obstacle."""
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=sram_bytes)
    dram = msgspec.structs.replace(EDGE_NPU.dram, bandwidth_bytes_per_s=bandwidth)
    processor = msgspec.structs.replace(EDGE_NPU, sram=sram, dram=dram)
    shared, alone = (
        compile_network(
            depthwise_blocks(), (1, 3, 28, 28), processor, switched_off=frozenset(off), precision=Precision("int8")
        )
        for off in ((), ("sharing",))
    )
    assert isinstance(shared, Compiled)
    assert isinstance(alone, Compiled)
    cycles = [simulate_parallel(each.parallel, processor).cycles for each in (shared, alone)]
    assert cycles[0] < 0.8 * cycles[1]
    inputs = {"input": shared.truth["input"]}
    for name, values in run_values(shared.optimised, shared.constants, inputs).items():
        np.testing.assert_array_equal(values, run_values(alone.optimised, alone.constants, inputs)[name])
