"""Rows that two stripes need are kept for the second one: none is missing, none is made twice, and the numbers stay the same."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.opt.layout.operands import layout_of
from nas.compiler.opt.pipeline import optimise
from nas.compiler.opt.plan.halo import stripes_of
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.precision import Precision, network_in
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.command import Conv, Copy
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.sim.trace import Trace
from nas.sim.values import run_values
from nas.timing.bounds import program_bounds

MICRO_NPU = find_processor("micro_npu")
INT8 = Precision("int8")


def chain(layers: Sequence[tuple[int, int, int]]) -> nn.Module:
    """Convolutions of (kernel, stride, padding)."""
    return nn.Sequential(*(nn.Conv2d(1, 1, kernel, stride, padding, bias=False) for kernel, stride, padding in layers))


LAYERS = st.integers(1, 5).flatmap(
    lambda kernel: st.tuples(st.just(kernel), st.integers(1, 3), st.integers(0, kernel // 2))
)


@settings(deadline=None, max_examples=60)
@given(st.lists(LAYERS, min_size=2, max_size=4), st.integers(30, 60), st.integers(1, 5), st.booleans())
def test_every_row_is_there_in_time_and_none_that_is_kept_is_made_twice(
    layers: list[tuple[int, int, int]], size: int, height: int, keeps: bool
) -> None:
    with torch.device("meta"):
        network = chain(layers)
        sides = [size]
        for layer in network:
            sides.append((sides[-1] + 2 * layer.padding[0] - layer.kernel_size[0]) // layer.stride[0] + 1)
    if min(sides) < 1:
        return
    lowered = network_of(network.eval(), ((1, 1, size, size),))
    placed = [each for each in layout_of(lowered).placed if each is not None]
    members = [each.operands for each in placed if isinstance(each.operands.function, Conv)]
    ranges = [(start, min(start + height, sides[-1])) for start in range(0, sides[-1], height)]
    stripes = stripes_of(members, [0] * len(members), ranges, keeps)
    for place, (kernel, stride, padding) in enumerate(layers[1:]):
        made: list[int] = []
        held: set[int] = set()
        for stripe in stripes:
            own, wanted = stripe[place], stripe[place + 1].made
            new = set(range(*own.made))
            here = set(range(*own.held))
            needed = {row * stride - padding + offset for row in range(*wanted) for offset in range(kernel)} & set(
                range(sides[place + 1])
            )
            assert needed <= here
            assert here <= (new | held if keeps else new)  # a stripe has what the one before it had, and what it makes
            made += sorted(new)
            held = here
        assert sorted(set(made)) == sorted(made) or not keeps
        assert made == sorted(made) or not keeps


def thin_and_wide(kernel: int, stride: int, last: int) -> nn.Module:
    """A map of six times the channels of what is before it and behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 48, 1),
            nn.ReLU6(),
            nn.Conv2d(48, 48, kernel, stride, kernel // 2, groups=48),
            nn.ReLU6(),
            nn.Conv2d(48, 8, last, padding=last // 2),
        ).eval()


def with_sram(size_kib: int) -> Processor:
    sram = msgspec.structs.replace(MICRO_NPU.sram, size_bytes=size_kib << 10, banks=1, pages=1)
    return msgspec.structs.replace(MICRO_NPU, sram=sram)


@pytest.mark.parametrize(
    ("kernel", "stride", "last", "size_px", "batch", "sram_kib"),
    [
        (3, 1, 1, 31, 2, 32),  # row by row in one buffer
        (3, 1, 1, 32, 1, 32),  # a buffer for each stripe
        (3, 1, 3, 31, 1, 40),
        (3, 2, 3, 32, 2, 40),  # two maps of the chain
        (5, 1, 1, 31, 2, 16),
        (5, 1, 3, 31, 1, 16),
        (5, 2, 3, 31, 2, 24),
        (5, 2, 1, 32, 2, 40),
        (3, 1, 1, 31, 1, 28),  # chunk by chunk, in one buffer
    ],
)
def test_rows_are_kept_and_no_number_changes(
    kernel: int, stride: int, last: int, size_px: int, batch: int, sram_kib: int
) -> None:
    processor, shape = with_sram(sram_kib), (batch, 3, size_px, size_px)
    values = []
    for off in (frozenset[str](), frozenset(["stripes"])):
        compiled = compile_network(
            thin_and_wide(kernel, stride, last), shape, processor, switched_off=off, precision=INT8
        )
        assert isinstance(compiled, Compiled)
        (name,) = (binding.name for binding in compiled.optimised.outputs)
        values.append(run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]})[name])
        if not off:
            assert any(isinstance(command.attributes, Copy) for command in compiled.optimised.commands)
            macs = sum(span.macs for span in simulate(compiled.optimised, processor).spans)
            assert macs <= 1.01 * program_bounds(compiled.optimised, processor).macs
    np.testing.assert_array_equal(values[0], values[1])


def test_a_mobile_network_on_a_small_chip_gains_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of MobileNetV2's wide maps more pass in stripes, and more layers in one chain, where no stripe makes rows twice."""
    network = network_in(torchvision.models.mobilenet_v2().eval().to("meta"), (1, 3, 128, 128), MICRO_NPU, INT8)

    def trace() -> Trace:
        return simulate_parallel(parallelise(optimise(network, MICRO_NPU)[0]), MICRO_NPU)

    kept = trace()
    monkeypatch.setattr("nas.compiler.opt.plan.heights._can_keep", lambda chain, passing: False)
    made_twice = trace()
    assert kept.cycles < 0.95 * made_twice.cycles
    assert kept.dram_bytes < 0.95 * made_twice.dram_bytes
