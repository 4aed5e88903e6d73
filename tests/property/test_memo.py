"""What is remembered of other networks, and what a price leaves out, changes no program and no price by a bit."""

import copy
import math
import sys
from functools import cache

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import models
from nas.check.parallel import check_par_program
from nas.compiler.front_end.lower import network_of
from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.spread import spread
from nas.compiler.precision import Bits, Precision, network_in
from nas.core.errors import DoesNotFit, Violation
from nas.cost.model import Cost
from nas.cost.simulated import SimulatedCost, cost_of
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel
from tests.networks import RandomNetwork, RandomSkips, random_arch

EDGE_NPU, MICRO_NPU = find_processor("edge_npu"), find_processor("micro_npu")
SHAPE = (2, 3, 16, 16)


def some_network(seed: int) -> nn.Module:
    generator = np.random.default_rng(seed)
    if seed % 2:
        return RandomNetwork(generator).eval()
    return models.build(random_arch(generator, quantised=bool(seed % 4)), seed).eval()


def with_one_block_changed(network: nn.Module, seed: int) -> nn.Module:
    """The same network but for one of its convolutions, in whose place stands another block that keeps the sizes of its maps."""
    edited = copy.deepcopy(network)
    found = [
        (parent, name, child)
        for parent in edited.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Conv2d and all(size % 2 for size in child.kernel_size)
    ]
    if found:
        parent, name, conv = found[seed % len(found)]
        setattr(parent, name, another_block(conv, np.random.default_rng(seed)))
    return edited


def another_block(conv: nn.Conv2d, generator: np.random.Generator) -> nn.Module:
    """A block in the place of a convolution: with another kernel, with groups, wider in its middle, in two steps, or deeper."""
    inputs, outputs, bias = conv.in_channels, conv.out_channels, bool(generator.integers(2))
    # How much smaller than with a padding of half the kernel the map gets, which a kernel of 1 can't make up for.
    reach = [d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if not isinstance(conv.padding, tuple) or list(conv.padding) != reach:
        return copy.deepcopy(conv)

    def step(size: int, channels: tuple[int, int], groups: int = 1, strided: bool = False) -> nn.Conv2d:
        stride = conv.stride if strided else (1, 1)
        return nn.Conv2d(*channels, size, stride, size // 2, groups=groups, bias=bias)

    size = int(generator.choice([1, 3, 5]))
    wide = inputs * int(generator.integers(1, 4))
    common = math.gcd(inputs, outputs)
    kinds = [
        [step(size, (inputs, outputs), strided=True)],
        [step(size, (inputs, outputs), common, strided=True)],
        [step(1, (inputs, wide)), nn.BatchNorm2d(wide), nn.ReLU6(), step(size, (wide, outputs), strided=True)],
        [step(size, (inputs, inputs), inputs, strided=True), nn.ReLU(), step(1, (inputs, outputs))],
        [step(1, (inputs, outputs), strided=True), *(step(size, (outputs, outputs)) for _ in range(2)), nn.Hardswish()],
    ]
    return nn.Sequential(*kinds[int(generator.integers(len(kinds)))])


def made(network: Network, processor: Processor, memo: Memo) -> object:
    try:
        program, constants = optimise(network, processor, memo=memo)
    except DoesNotFit as error:
        return error.violation
    return program, {name: stored.tobytes() for name, stored in constants.items()}


SHARED = Memo()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([EDGE_NPU, MICRO_NPU]))
def test_what_is_remembered_changes_no_program(seed: int, processor: Processor) -> None:
    network = some_network(seed)
    forgetful = Memo(answers=2)
    for module in (network, with_one_block_changed(network, seed), network):
        lowered = network_of(module, (SHAPE,))
        fresh = made(lowered, processor, Memo())
        assert made(lowered, processor, SHARED) == fresh
        assert made(lowered, processor, forgetful) == fresh


@settings(max_examples=3, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([8, 16, 32]))
def test_what_is_remembered_changes_nothing_where_operators_are_done_again(seed: int, kib: int) -> None:
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=kib << 10)
    processor = msgspec.structs.replace(EDGE_NPU, sram=sram)
    network = RandomSkips(np.random.default_rng(seed)).eval()
    for module in (network, with_one_block_changed(network, seed), network):
        lowered = network_of(module, ((1, 3, 24, 24),))
        assert made(lowered, processor, SHARED) == made(lowered, processor, Memo())


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_a_model_of_costs_with_memories_says_what_a_new_one_says(seed: int) -> None:
    model, network = SimulatedCost(EDGE_NPU), some_network(seed)
    for module in (network, with_one_block_changed(network, seed), network):
        assert model.cost(module, SHAPE) == SimulatedCost(EDGE_NPU).cost(module, SHAPE)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([EDGE_NPU, MICRO_NPU]), st.sampled_from(["float", "int8"]))
def test_neighbour_after_neighbour_costs_what_it_costs_alone(seed: int, processor: Processor, bits: Bits) -> None:
    """As a search goes: each network differs from the one before in one block."""
    model, network = SimulatedCost(processor, precision=Precision(bits)), some_network(seed)
    for edit in range(4):
        assert model.cost(network, SHAPE) == price_without_memories(network, processor, bits)
        network = with_one_block_changed(network, seed + edit)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_models_that_share_a_memory_do_not_mix_up_their_prices(seed: int) -> None:
    memo, network = Memo(), some_network(seed)
    more = nn.ModuleList([network, nn.Linear(3, 5)])  # parameters that the compiler never sees
    more.forward = network.forward
    for processor in (EDGE_NPU, MICRO_NPU):
        for bits in ("float", "int8"):
            model = SimulatedCost(processor, precision=Precision(bits), memo=memo)
            for module, shape in ((network, SHAPE), (network, (1, *SHAPE[1:])), (more, SHAPE), (network, SHAPE)):
                assert model.cost(module, shape) == SimulatedCost(processor, precision=Precision(bits)).cost(
                    module, shape
                )


def price_without_memories(module: nn.Module, processor: Processor, bits: Bits) -> Cost | Violation:
    """The price without anything that this process remembers: neither the memory of a model nor those of the functions."""
    for name, loaded in list(sys.modules.items()):
        if name.startswith("nas."):
            for value in vars(loaded).values():
                if isinstance(value, type(cache(len))):
                    value.cache_clear()
    return SimulatedCost(processor, precision=Precision(bits)).cost(module, SHAPE)


@pytest.mark.parametrize("answers", [1, 2, 100])
def test_a_memory_gives_what_was_made_under_the_key(answers: int) -> None:
    memo = Memo(answers)
    for key in (1, 2, 1, 3, 2, 1):
        assert memo.under(key, lambda key=key: key * 10) == key * 10
    assert len(memo._under) == min(answers, 3)


def price_of_all_numbers(module: nn.Module, precision: Precision) -> Cost | Violation:
    """The price of the programs that hold every constant and every range."""
    lowered = network_in(module, SHAPE, EDGE_NPU, precision)
    try:
        one_core = optimise(lowered, EDGE_NPU)
    except DoesNotFit as error:
        return error.violation
    found = spread(lowered, EDGE_NPU, one_core)
    assert check_par_program(found.parallel, EDGE_NPU, found.sequence, sequential_is_checked=False) == ()
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return cost_of(one_core[0], simulate_parallel(found.parallel, EDGE_NPU), parameters, found.parallel.used_bytes)


@pytest.mark.parametrize("bits", ["float", "int8", "bfloat16"])
@settings(max_examples=7, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_a_price_needs_no_numbers(bits: str, seed: int) -> None:
    torch.set_num_threads(1)
    module, precision = some_network(seed), Precision(bits)
    assert SimulatedCost(EDGE_NPU, precision=precision).cost(module, SHAPE) == price_of_all_numbers(module, precision)
