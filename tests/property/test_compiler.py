"""What holds for every network and every processor: legal programs, no byte over the limits, passes that change nothing."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.memory.alloc import allocate, lower_bound_bytes
from nas.compiler.opt.pipeline import PASSES, PLANNING
from nas.core.errors import Violation
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.values import run_values
from tests.networks import random_arch

EDGE_NPU = find_processor("edge_npu")


def with_sram(size_bytes: int) -> Processor:
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=size_bytes, banks=1)
    return msgspec.structs.replace(EDGE_NPU, sram=sram)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([3, 4, 6, 10, 24, 64]))
def test_a_network_fits_or_says_what_it_needs(seed: int, sram_kib: int) -> None:
    processor = with_sram(sram_kib * 1024)
    module = models.build(random_arch(np.random.default_rng(seed), quantised=bool(seed % 3)), seed)
    compiled = compile_network(module, (1, 3, 16, 16), processor)  # the checkers run inside
    if isinstance(compiled, Violation):
        assert compiled.what == "sram_bytes"
        assert compiled.need > compiled.have == processor.sram.size_bytes
        assert compiled.where
    else:
        assert compiled.optimised.used_bytes["sram"] <= processor.sram.size_bytes


@pytest.mark.parametrize("switch", [step.name for step in PASSES] + list(PLANNING))
def test_every_pass_can_be_left_out_and_changes_no_value(switch: str) -> None:
    module = models.build(random_arch(np.random.default_rng(7), quantised=True), 7)
    results = []
    for switched_off in (frozenset[str](), frozenset([switch])):
        compiled = compile_network(module, (1, 3, 16, 16), EDGE_NPU, switched_off=switched_off)
        assert isinstance(compiled, Compiled)
        results.append(run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]}))
    for name, expected in results[0].items():
        np.testing.assert_array_equal(results[1][name], expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8), st.integers(1, 5000)), min_size=1, max_size=40))
def test_no_two_live_buffers_share_a_byte(buffers: list[tuple[int, int, int]]) -> None:
    spans = {f"b{index}": (first, first + length) for index, (first, length, _) in enumerate(buffers)}
    sizes = {f"b{index}": size for index, (_, _, size) in enumerate(buffers)}
    allocation = allocate(spans, sizes)
    for a in spans:
        assert allocation.offsets[a] + sizes[a] <= allocation.peak_bytes
        for b in spans:
            if a < b and spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]:
                low, high = sorted((a, b), key=lambda name: allocation.offsets[name])
                assert allocation.offsets[low] + sizes[low] <= allocation.offsets[high]
    assert allocation.peak_bytes >= lower_bound_bytes(spans, sizes)


def test_compiling_twice_gives_the_same_programs() -> None:
    module = models.build(random_arch(np.random.default_rng(3), quantised=True), 3)
    first, second = (compile_network(module, (2, 3, 16, 16), EDGE_NPU) for _ in range(2))
    assert isinstance(first, Compiled)
    assert isinstance(second, Compiled)
    assert first.naive == second.naive
    assert first.optimised == second.optimised
    assert first.parallel == second.parallel
