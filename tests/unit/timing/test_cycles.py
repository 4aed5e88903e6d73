"""Cycles, traffic and energy of single commands, worked out by hand on a small round processor."""

import msgspec
import pytest

from nas.core.errors import ContractError
from nas.hw.spec import Dram, Energies, Host, Matrix, Processor, Sram, Vector
from nas.ir import command as ir
from nas.ir.command import Command, Conv, Copy, Eltwise, Load, Matmul, Pool, Store, Tail, Window
from nas.ir.tensor import FLOAT32, Format, Region, box, dense
from nas.timing.cycles import command_cycles, dma_parts, transfer_cycles
from nas.timing.energy import command_energy_pj, static_energy_pj
from nas.timing.price import command_price
from nas.timing.traffic import Traffic, command_macs, command_traffic, moved_bytes

CODE8, CODE4 = Format(8, "code", levels=255), Format(4, "code", levels=15)
# 4 bytes a cycle from dram after 10 cycles; 4 x 8 = 32 bytes a cycle from sram.
SMALL = Processor(
    name="small",
    clock_hz=1e9,
    issue_cycles=5,
    dram=Dram(1 << 20, 4e9, 10e-9),
    sram=Sram(1 << 16, 4, 8),
    matrix=Matrix(8, 8),
    vector=Vector(4),
    host=Host(1e9, 1e-6),
    energies=Energies("made up", 1.0, 2.0, 3.0, 10.0, 100.0, 0.5),
)
MAP = dense("sram", 0, (8, 10, 10), 8)
TAIL = Tail(True, None, CODE8, "relu", output=CODE8, pool=Window((2, 2), (2, 2)))


def sram(*shape, bits=8):
    return dense("sram", 0, shape, bits)


def conv(tail=None, **changes):
    tail = tail or Tail(output=CODE8)
    reads = [MAP, sram(16, 8, 3, 3)]
    reads += [sram(2, 16, bits=32)] if tail.table else []
    reads += [sram(16, 8, 8)] if tail.add else []
    attributes = Conv(Window((3, 3)), input=CODE8, weight=CODE8, tail=tail)
    size = 4 if tail.pool else 8
    return Command("matrix", "c", tuple(reads), (sram(16, size, size),), msgspec.structs.replace(attributes, **changes))


def test_conv_on_the_array():
    # 72 terms are 9 folds, 16 channels 2; 64 pixels stream through; one step of the tail (encode).
    assert command_cycles(conv(), SMALL) == 5 + 18 * (64 + 14) + 8 + 1
    # 64 pixels are 8 folds; 72 terms stream through.
    assert command_cycles(conv(dataflow="output_stationary"), SMALL) == 5 + 16 * (72 + 14) + 8 + 1
    assert command_cycles(conv(dataflow="input_stationary"), SMALL) == 5 + 9 * 8 * (16 + 14) + 8 + 1


def test_a_fused_tail_costs_its_pipeline_only():
    assert command_cycles(conv(TAIL), SMALL) == command_cycles(conv(), SMALL) + 4


def test_a_product_is_one_more_step():
    gate = Command("vector", "v", (sram(3, 7), sram(1, 7)), (sram(3, 7),), Eltwise(CODE8, Tail(multiply=CODE8)))
    assert command_cycles(gate, SMALL) == 5 + 6 + 1
    assert command_traffic(gate).sram_bytes == 21 + 7 + 21


def test_macs_count_the_outputs_before_a_fused_pool():
    assert command_macs(conv()) == command_macs(conv(TAIL)) == 16 * 8 * 8 * 8 * 9


@pytest.mark.parametrize(
    ("command", "busy"),
    [
        (Command("vector", "v", (sram(3, 7),), (sram(3, 7),), Eltwise(CODE8, Tail(output=CODE8))), 6 + 1),
        (Command("vector", "v", (sram(3, 4, 4),), (sram(3, 2, 2),), Pool(window=Window((2, 2), (2, 2)))), 12),
        (Command("vector", "v", (sram(3, 7),), (sram(21),), Copy()), 6),
        (msgspec.structs.replace(conv(), engine="vector"), 73728 // 4 + 1),
        (Command("vector", "v", (sram(2, 9), sram(5, 9)), (sram(2, 5),), Matmul(CODE8, CODE8)), 23),
        (Command("matrix", "v", (sram(2, 9), sram(5, 9)), (sram(2, 5),), Matmul(CODE8, CODE8)), 2 * (2 + 14) + 8),
    ],
    ids=["eltwise", "pool", "copy", "vector conv", "vector matmul", "matmul"],
)
def test_busy_cycles(command, busy):
    assert command_cycles(command, SMALL) == 5 + busy


def test_the_ports_of_the_sram_are_a_limit():
    wide = msgspec.structs.replace(SMALL, vector=Vector(1024))
    command = Command("vector", "v", (sram(16, 256),), (sram(16, 256),), Copy())
    assert command_cycles(command, wide) == 5 + 2 * 4096 // 32


def test_a_load_waits_for_the_dram_and_moves_whole_bytes():
    source, target = dense("dram", 0, (3, 5), 4), sram(3, 5, bits=4)
    load = Command("dma_in", "l", (source,), (target,), Load())
    assert dma_parts(load, SMALL) == (5 + 10, 9)
    assert command_cycles(load, SMALL) == 5 + 10 + 3
    assert command_traffic(load) == Traffic(9, 0, 0, 8)
    store = Command("dma_out", "l", (target,), (source,), Store())
    assert command_cycles(store, SMALL) == 5 + 10 + 3
    assert command_traffic(store) == Traffic(0, 9, 8, 0)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (dense("dram", 0, (4, 6, 6), 8), 144),
        (dense("dram", 0, (4, 6, 6), 1), 24),
        (dense("dram", 0, (4, 6, 8), 1), 24),
        (box(dense("dram", 0, (4, 6, 8), 4), None, (1, 4), (2, 5)), 24),
        (box(dense("dram", 0, (4, 6, 8), 4), None, (1, 4)), 48),
        (Region("dram", 0, (8, 8), (1, 8), 1), 8),
        (Region("dram", 0, (8, 8), (2, 16), 1), 64),
        (Region("dram", 0, (3, 8), (0, 1), 8), 24),
        (Region("dram", 0, (1, 1), (100, 100), 32), 4),
    ],
    ids=["dense", "rows of 6 bits", "dense bits", "box", "whole rows", "transposed", "every second", "repeated", "one"],
)
def test_contiguous_runs_are_rounded_up_to_bytes(region, expected):
    assert moved_bytes(region) == expected


def test_host_calls_cost_the_call_and_the_elements():
    regions = dense("dram", 0, (10, 10), 32), dense("dram", 400, (10, 10), 32)
    command = Command("host", "h", regions[:1], regions[1:], ir.Host("f"))
    assert command_cycles(command, SMALL) == 5 + 1000 + 200
    assert command_traffic(command) == Traffic(400, 400, 0, 0)
    assert command_energy_pj(command, SMALL) == 800 * 100 + 200 * 3


def test_energy_counts_events():
    reads = 800 + 16 * 72
    assert command_energy_pj(conv(), SMALL) == 73728 * 1.0 + 1024 * 2.0 + (reads + 1024) * 10.0
    wide = conv(weight=FLOAT32)
    assert command_energy_pj(wide, SMALL) - command_energy_pj(conv(), SMALL) == 73728 * 3
    assert static_energy_pj(1000, SMALL) == pytest.approx(0.5 * 1e-6 * 1e12)


@pytest.mark.parametrize("command", [conv(), conv(TAIL), msgspec.structs.replace(conv(), engine="vector")])
def test_a_price_is_all_of_it_at_once(command):
    price = command_price(command, SMALL)
    assert price.cycles == command_cycles(command, SMALL)
    assert price.macs == command_macs(command)
    assert price.sram_bytes == command_traffic(command).sram_bytes
    assert price.energy_pj == command_energy_pj(command, SMALL)
    assert price.transfer_bytes == price.dram_bytes == 0


def test_noise_of_floating_point_is_no_cycle():
    # 100e-9 * 800e6 is a little above 80 in floating point.
    processor = msgspec.structs.replace(SMALL, clock_hz=800e6, dram=Dram(1 << 20, 4e9, 100e-9), issue_cycles=0)
    load = Command("dma_in", "l", (dense("dram", 0, (5,), 8),), (sram(5),), Load())
    assert command_cycles(load, processor) == 80 + 1
    assert transfer_cycles(0, processor) == 0


def test_commands_on_the_wrong_engine_are_refused():
    with pytest.raises(ContractError, match="pool of p is not for the matrix engine"):
        command_cycles(Command("matrix", "p", (MAP,), (MAP,), Pool()), SMALL)
    with pytest.raises(ContractError, match="with the vector engine's dataflow"):
        command_cycles(conv(dataflow="lanes"), SMALL)
    with pytest.raises(ContractError, match="'dma_in', which does not compute"):
        command_cycles(Command("dma_in", "p", (MAP,), (MAP,), Pool()), SMALL)


COMMANDS = {
    "load": Command("dma_in", "l", (dense("dram", 0, (3, 500), 8),), (sram(3, 500),), Load()),
    "conv": conv(TAIL),
    "vector": Command("vector", "v", (sram(3, 700),), (sram(3, 700),), Eltwise(CODE8, Tail(output=CODE8))),
    "host": Command("host", "h", (dense("dram", 0, (99,), 32),), (dense("dram", 400, (99,), 32),), ir.Host("f")),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_better_processor_is_never_slower(name):
    command = COMMANDS[name]

    def seconds(processor):
        return command_cycles(command, processor) / processor.clock_hz

    def better(field, values):
        part, _, leaf = field.rpartition(".")
        for value in values:
            if not part:
                yield msgspec.structs.replace(SMALL, **{leaf: value})
                continue
            yield msgspec.structs.replace(
                SMALL, **{part: msgspec.structs.replace(getattr(SMALL, part), **{leaf: value})}
            )

    for field, values in {
        "clock_hz": (1e9, 2e9, 8e9),  # whole multiples: a latency in cycles is rounded up
        "dram.bandwidth_bytes_per_s": (1e9, 3.7e9, 4e9, 64e9),
        "dram.latency_s": (1e-6, 33e-9, 0.0),
        "vector.lanes": (1, 3, 4, 64),
        "sram.banks": (1, 2, 64),
        "host.operations_per_s": (1e6, 1e9),
        "matrix.cell_bits": (1, 2, 4, 8, 16),
    }.items():
        times = [seconds(processor) for processor in better(field, values)]
        assert times == sorted(times, reverse=True), field
