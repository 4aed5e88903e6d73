"""The engines of a chain have as much to do as each other: what helps, and what would hold up."""

import pytest
from msgspec.structs import replace

from nas.compiler.opt.engines.share import PLAIN, Pace
from nas.compiler.opt.plan.balance import Work, balanced
from nas.compiler.tiling import Part
from nas.hw.load import find_processor
from nas.ir.command import Conv, Tail, Window
from nas.ir.tensor import Format, dense

MICRO_NPU = find_processor("micro_npu")
_CODES = Format(8, "code", levels=255)
_CONV = Conv(input=_CODES, weight=_CODES, tail=Tail(output=_CODES), dataflow="weight_stationary")


def _widen(inputs: int) -> Work:
    reads = dense("a", 0, (inputs, 14, 14), 8), dense("b", 0, (64, inputs, 1, 1), 8)
    return Work(Part(_CONV, reads, dense("c", 0, (64, 14, 14), 8)), PLAIN)


def _depthwise(kernel: int) -> Work:
    window = Window((kernel, kernel), padding=(kernel // 2,) * 4)
    reads = dense("a", 0, (64, 14, 14), 8), dense("b", 0, (64, 1, kernel, kernel), 8)
    return Work(
        Part(replace(_CONV, window=window, groups=64, dataflow="lanes"), reads, dense("c", 0, (64, 14, 14), 8)), PLAIN
    )


def test_lanes_with_little_to_do_help_the_array() -> None:
    (first, second), cycles = balanced([_widen(256), _depthwise(1)], True, 0, MICRO_NPU)
    (alone, _), unshared = balanced([_widen(256), _depthwise(3)], True, 0, MICRO_NPU)
    assert (first, alone) == (Pace(), None)
    assert second is not None
    assert cycles < unshared


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_array_helps_lanes_with_much_to_do(kernel: int) -> None:
    """By as much as makes both end together: less than either would take for what the lanes have."""
    (first, second), cycles = balanced([_widen(16), _depthwise(kernel)], True, 0, MICRO_NPU)
    in_turn = balanced([_widen(16), _depthwise(kernel)], False, 0, MICRO_NPU)[1]
    assert first is None
    assert second is not None
    assert second.lead_cycles > 0
    assert cycles < 0.8 * in_turn


def test_what_keeps_the_lanes_busy_counts() -> None:
    works = [_widen(256), _depthwise(1)]
    paces, cycles = balanced(works, True, 10_000, MICRO_NPU)
    assert paces[0] is None
    assert cycles >= 10_000
