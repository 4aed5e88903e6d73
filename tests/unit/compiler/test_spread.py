"""Weights spread over blocks of outputs: the same numbers, in less time, and only where a weight can be 0."""

import itertools

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.emit.constants import ConstantPool
from nas.compiler.opt.engines.spread import Spread, choose_spread, constant_copy, on_array
from nas.compiler.precision import Precision
from nas.compiler.tiling import Part, part_cycles
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Pool, Tail, Window
from nas.ir.tensor import Format, Region, dense
from nas.sim.arithmetic import execute
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values

EDGE_NPU = find_processor("edge_npu")
MICRO_NPU = find_processor("micro_npu")
CODE = Format(8, "code", 0.5, 1, -7, 255)
WEIGHT = Format(8, "code", 1.0, 1, -128, 255)


def memories(generator: np.random.Generator) -> dict[str, np.ndarray]:
    return {"sram": generator.integers(0, 256, 1 << 17).astype(np.uint8)}


@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (1, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("block", [(1, 2), (2, 1), (2, 4), (3, 2), (16, 1)])
def test_blocks_make_the_same_numbers(kernel: tuple[int, int], stride: tuple[int, int], block: tuple[int, int]) -> None:
    """Grouped channels, a table, a factor for whole channels and an addend for all of them, padding, rows that are left over."""
    generator = np.random.default_rng(5)
    groups, depth, outputs = 3, 2, 2
    window = Window(kernel, stride, (1, 2, 0, 1))
    source = (groups * depth, 11, 3 * stride[1] + kernel[1])
    rows, columns = window.output_size(*source[1:])
    columns -= columns % block[1]
    source = (*source[:2], (columns - 1) * stride[1] + kernel[1] - 3)
    assert window.output_size(*source[1:]) == (rows, columns)
    count = groups * outputs
    tail = Tail(True, CODE, CODE, output=Format(8, "code", 2e4, 1, -100, 255))
    conv = Conv(window, groups, CODE, WEIGHT, tail)
    spread = Spread(*block, stride, 128)

    pool = ConstantPool({"w": generator.integers(0, 256, count * depth * kernel[0] * kernel[1]).astype(np.uint8)}, 0)
    pool.stored = {**pool.stored, "t": generator.normal(size=2 * count).astype(np.float32).view(np.uint8)}
    parts = [(dense("w", 0, (count, depth, *kernel), 8), "weight"), (dense("t", 0, (2, count), 32), "table")]
    maps = [
        dense("sram", 0, source, 8),
        dense("sram", 2000, (count, 1, 1), 8),
        dense("sram", 2100, (1, rows, columns), 8),
    ]
    write = dense("sram", 3000, (count, rows, columns), 8)
    made = []
    for how in (None, spread):
        memory = memories(np.random.default_rng(6))
        pool.pack("layer", parts, how)
        stored = pool.packed[pool.bindings[-1].name]
        memory["sram"][8192 : 8192 + stored.size] = stored
        local, at = [], 8192
        for region, role in parts:
            copy, at = constant_copy(region, role, how, "sram", at)
            local.append(copy)
        assert at == 8192 + stored.size
        reads = (maps[0], *local, *maps[1:])
        # Whoever wants the plain weights finds them within the spread ones.
        for each in [Part(conv, reads, write)] if how is None else on_array(Part(conv, reads, write), how):
            execute(Command("matrix", "", each.reads, (each.write,), each.function), memory)
        made.append(memory["sram"][3000 : 3000 + count * rows * columns].copy())
        if how is not None:
            plain = memories(np.random.default_rng(6))
            plain["sram"][8192 : 8192 + stored.size] = stored
            execute(Command("vector", "", reads, (write,), conv), plain)
            made.append(plain["sram"][3000 : 3000 + count * rows * columns].copy())
    assert len(np.unique(made[0])) > 10
    np.testing.assert_array_equal(made[1], made[0])
    np.testing.assert_array_equal(made[2], made[0])


def layer(channels: int, size: int, groups: int, weight: Format = WEIGHT, kernel: int = 3) -> Part:
    conv = Conv(Window((kernel, kernel), padding=(kernel // 2,) * 4), groups, CODE, weight, Tail(output=CODE))
    data, weights = (channels, size, size), (channels, channels // groups, kernel, kernel)
    return Part(conv, (dense("a", 0, data, 8), dense("w", 0, weights, weight.bits)), dense("b", 0, data, 8))


@pytest.mark.parametrize(
    ("part", "processor", "least"),
    [
        (layer(96, 56, 96), EDGE_NPU, 2.0),
        (layer(96, 56, 12), EDGE_NPU, 2.0),
        (layer(24, 28, 24, kernel=5), EDGE_NPU, 1.7),
        (layer(16, 14, 16), MICRO_NPU, 2.5),
    ],
)
def test_the_array_is_so_many_times_as_fast(part: Part, processor: Processor, least: float) -> None:
    spread = choose_spread(*part, processor)
    assert spread is not None
    cycles = [sum(part_cycles(each, processor) for each in on_array(part, how)) for how in (None, spread)]
    assert cycles[0] > least * cycles[1]


@pytest.mark.parametrize(
    "part",
    [
        layer(96, 56, 96, Format(8, "code", 1.0, 2, -255, 255)),  # DoReFa's codes are odd numbers
        layer(96, 56, 96, Format(8, "code", 1.0, 1, 3, 255)),
        layer(96, 56, 96, Format(32)),
        layer(64, 56, 1),  # as many outputs as columns, and more
        layer(96, 56, 96, kernel=1),
    ],
)
def test_plain_weights_stay_where_blocks_are_wrong_or_worthless(part: Part) -> None:
    assert choose_spread(*part, EDGE_NPU) is None


def blocks() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 64, 1),
            nn.ReLU6(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=64),
            nn.ReLU6(),
            nn.Conv2d(64, 64, 3, padding=1, groups=8),
            nn.ReLU(),
            nn.Conv2d(64, 64, 5, padding=2, groups=64),
            nn.Conv2d(64, 8, 1),
        ).eval()


@pytest.mark.parametrize(("sram_bytes", "size"), [(512 << 10, 28), (64 << 10, 40), (48 << 10, 31)])
def test_a_network_is_quicker_and_gives_the_same(sram_bytes: int, size: int) -> None:
    """With maps on chip and in stripes."""
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=sram_bytes)
    processor = msgspec.structs.replace(EDGE_NPU, sram=sram)
    spread, plain = (
        compile_network(
            blocks(), (1, 3, size, size), processor, switched_off=frozenset(off), precision=Precision("int8")
        )
        for off in ((), ("spread",))
    )
    assert isinstance(spread, Compiled)
    assert isinstance(plain, Compiled)
    kernels = [
        {
            command.attributes.window.kernel
            for command in each.optimised.commands
            if isinstance(command.attributes, Conv)
        }
        for each in (spread, plain)
    ]
    assert kernels[0] > kernels[1]
    cycles = [simulate_parallel(each.parallel, processor).cycles for each in (spread, plain)]
    assert cycles[0] < 0.98 * cycles[1]
    inputs = {"input": spread.truth["input"]}
    for name, values in run_values(spread.optimised, spread.constants, inputs).items():
        np.testing.assert_array_equal(values, run_values(plain.optimised, plain.constants, inputs)[name])


@pytest.mark.parametrize(("processor", "is_apart"), [(EDGE_NPU, False), (find_processor("server_npu"), True)])
def test_a_pool_is_left_to_the_lanes_where_blocks_save_more(processor: Processor, is_apart: bool) -> None:
    """256 columns hold three pixels of a first layer with 64 channels, 32 columns hold none."""
    first = nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(64, 8, 1)
    )
    spread, plain = (
        compile_network(
            first.eval(), (1, 3, 112, 112), processor, switched_off=frozenset(off), precision=Precision("int8")
        )
        for off in ((), ("spread",))
    )
    assert isinstance(spread, Compiled)
    assert isinstance(plain, Compiled)
    assert any(isinstance(each.function, Pool) for each in spread.optimised.operators) is is_apart
    assert not any(isinstance(each.function, Pool) for each in plain.optimised.operators)
    cycles = [simulate_parallel(each.parallel, processor).cycles for each in (spread, plain)]
    assert cycles[0] < 0.7 * cycles[1] if is_apart else cycles[0] == cycles[1]
    inputs = {"input": spread.truth["input"]}
    for name, values in run_values(spread.optimised, spread.constants, inputs).items():
        np.testing.assert_array_equal(values, run_values(plain.optimised, plain.constants, inputs)[name])


def test_every_byte_of_the_result_is_written_once() -> None:
    part = layer(6, 14, 6)
    written = np.zeros(6 * 14 * 14, int)
    for each in on_array(part, Spread(4, 7, (1, 1), 128)):
        for index in itertools.product(*map(range, each.write.shape)):
            written[_address(each.write, index)] += 1
    assert (written == 1).all()


def _address(region: Region, index: tuple[int, ...]) -> int:
    return region.offset_bytes + sum(place * stride for place, stride in zip(index, region.strides, strict=True))
