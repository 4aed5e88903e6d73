"""Loads far ahead: quicker where the chip has room in pieces, in their order, at addresses that nobody else has meanwhile."""

import msgspec
import pytest
import torchvision
from torch import nn

from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.memo import Memo
from nas.compiler.opt import draft
from nas.compiler.opt.memory.ahead import loaded_ahead
from nas.compiler.opt.memory.arrange import Arranged
from nas.compiler.opt.memory.colour import timed
from nas.compiler.opt.memory.prefetch import lifetimes
from nas.compiler.opt.pipeline import optimise
from nas.compiler.precision import network_to_price
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.command import Load

EDGE_NPU = find_processor("edge_npu")


def twice_as_wide() -> Processor:
    """64x64 cells, 64 lanes, 1 MiB and 16 GB/s."""
    replace = msgspec.structs.replace
    return replace(
        EDGE_NPU,
        matrix=replace(EDGE_NPU.matrix, rows=64, columns=64),
        vector=replace(EDGE_NPU.vector, lanes=64),
        sram=replace(EDGE_NPU.sram, size_bytes=1 << 20, port_bytes=256),
        dram=replace(EDGE_NPU.dram, bandwidth_bytes_per_s=16e9),
    )


@pytest.fixture(scope="module")
def taken() -> list[tuple[Arranged, Arranged]]:
    """What ShuffleNetV2's program was before and after."""
    seen: list[tuple[Arranged, Arranged]] = []

    def watched(found: Arranged, processor: Processor, memo: Memo) -> Arranged:
        seen.append((found, loaded_ahead(found, processor, memo)))
        return seen[-1][1]

    module = torchvision.models.shufflenet_v2_x1_0().eval().to("meta")
    network = network_to_price(module, (1, 3, 224, 224), twice_as_wide(), "int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draft, "loaded_ahead", watched)
        optimise(network, twice_as_wide())
    return seen


def test_the_program_is_quicker(taken: list[tuple[Arranged, Arranged]]) -> None:
    ((before, after),) = taken
    cycles = [timed(each.commands, each.allocation, twice_as_wide(), Memo()).trace.cycles for each in (before, after)]
    assert cycles[1] < 0.95 * cycles[0]


def test_only_loads_move_and_those_of_constants_in_their_order(taken: list[tuple[Arranged, Arranged]]) -> None:
    ((before, after),) = taken
    moved, plain = (
        [each for each in one if isinstance(each.attributes, Load)] for one in (after.commands, before.plain)
    )
    assert len(moved) == len(plain) and set(moved) == set(plain)
    others = [[each for each in one if not isinstance(each.attributes, Load)] for one in (after.commands, before.plain)]
    assert others[0] == others[1]


def test_what_lives_at_the_same_time_lies_apart(taken: list[tuple[Arranged, Arranged]]) -> None:
    ((_, after),) = taken
    spans, offsets = lifetimes(after.commands, after.buffer_bytes), after.allocation.offsets
    assert after.peak_bytes <= 1 << 20
    for one, (first, last) in spans.items():
        end = offsets[one] + after.buffer_bytes[one]
        assert end <= after.peak_bytes
        for other, (begins, ends) in spans.items():
            if one < other and first <= ends and begins <= last:
                assert end <= offsets[other] or offsets[other] + after.buffer_bytes[other] <= offsets[one], (one, other)


def test_addresses_of_the_order_before_are_no_longer_there_to_go_back_to() -> None:
    """A convolution whose loads move, of a program whose buffers moved together before."""
    module = nn.Conv2d(256, 256, 3, padding=1).eval().to("meta")
    program, _ = optimise(network_to_price(module, (1, 256, 56, 56), EDGE_NPU, "int8"), EDGE_NPU)
    raise_findings(check_program(program, EDGE_NPU), program.name)


def test_where_loads_are_as_early_as_can_be_nothing_is_tried() -> None:
    """A chip that holds everything."""
    module = torchvision.models.squeezenet1_1().eval().to("meta")
    server = find_processor("server_npu")
    network = network_to_price(module, (1, 3, 64, 64), server, "int8")
    on, off = (optimise(network, server, frozenset(each))[0] for each in ((), ("ahead",)))
    assert on == off
