"""Live bytes of small programs, counted by hand and by a set of bytes."""

import numpy as np
import pytest

import models
from nas.compiler.driver import Compiled, compile_network
from nas.cost.liveness import live_bytes
from nas.hw.load import find_processor
from nas.ir.command import Command, Copy, Eltwise, Load, Store
from nas.ir.program import Program
from nas.ir.tensor import Region, dense
from tests.networks import random_arch


def program_of(*commands: Command) -> Program:
    return Program("p", "small", "opt", (), (), (), (), (), commands, {"dram": 1 << 12, "sram": 1 << 20})


def at(offset: int, size: int) -> Region:
    return dense("sram", offset, (size,), 8)


HOME = dense("dram", 0, (100,), 8)


def test_a_buffer_lives_from_its_write_to_its_last_read() -> None:
    load = Command("dma_in", "l", (HOME,), (at(0, 100),), Load())
    double = Command("vector", "l", (at(0, 100),), (at(200, 100),), Eltwise())
    store = Command("dma_out", "l", (at(200, 100),), (HOME,), Store())
    assert live_bytes(program_of(load, store)) == 200, "what is stored lived from the start"
    assert live_bytes(program_of(load, double, store)) == 200
    assert live_bytes(program_of(load, double, store, double, store)) == 200


def test_in_place_takes_no_room_of_its_own() -> None:
    load = Command("dma_in", "l", (HOME,), (at(0, 100),), Load())
    copy = Command("vector", "l", (at(0, 100),), (at(0, 100),), Copy())
    store = Command("dma_out", "l", (at(0, 100),), (HOME,), Store())
    assert live_bytes(program_of(load, copy, store)) == 100


def test_what_nobody_reads_takes_room_only_while_it_is_written() -> None:
    load = Command("dma_in", "l", (HOME,), (at(0, 100),), Load())
    other = Command("dma_in", "l", (HOME,), (at(500, 100),), Load())
    assert live_bytes(program_of(load, other)) == 100


def bytes_of(region: Region) -> set[int]:
    steps = [np.arange(size) * stride for size, stride in zip(region.shape, region.strides, strict=True)]
    first_bits = sum(np.meshgrid(*steps, indexing="ij", sparse=True), np.zeros(1, int)).ravel() * region.bits
    return {
        region.offset_bytes + int(b)
        for first in first_bits
        for b in range(first // 8, (first + region.bits - 1) // 8 + 1)
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_compiled_networks_as_sets_of_bytes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    module = models.build(random_arch(generator, quantised=bool(seed % 2)), seed)
    compiled = compile_network(module, (1, 3, 16, 16), find_processor("micro_npu"))
    assert isinstance(compiled, Compiled)
    program = compiled.optimised
    lives: set[int] = set()
    most = 0
    for command in reversed(program.commands):
        reads = set().union(*(bytes_of(region) for region in command.reads if region.memory == "sram"))
        writes = set().union(*(bytes_of(region) for region in command.writes if region.memory == "sram"))
        most = max(most, len(lives | reads | writes))
        lives = (lives - writes) | reads
    assert live_bytes(program) == most
    assert 0 < most <= program.used_bytes["sram"]
