"""Turns: every member makes every channel of every stripe once, behind what it reads, and buffers suffice for all that live."""

from itertools import pairwise

import pytest
from torch import nn

from nas.compiler.network import Network
from nas.compiler.opt.layout.operands import Operands, layout_of
from nas.compiler.opt.pipeline import PASSES
from nas.compiler.opt.plan.passing import Passing, in_turn, overlapping, turns
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision, network_in
from nas.hw.load import find_processor
from nas.hw.spec import Processor

_STRIPES = 5
_TAKES = (0, 0, 0)


@pytest.fixture(scope="module")
def edge() -> Processor:
    return find_processor("edge_npu")


@pytest.fixture(scope="module")
def members(edge: Processor) -> list[Operands]:
    """An inverted residual's three layers, 144 channels wide."""
    layers = (nn.Conv2d(24, 144, 1), nn.Conv2d(144, 144, 3, padding=1, groups=144), nn.Conv2d(144, 24, 1))
    module = nn.Sequential(*layers).eval().to("meta")
    network: Network = network_in(module, (1, 24, 56, 56), edge, Precision("int8"), "inverted")
    placed = layout_of(run_passes(PASSES, network, edge, frozenset())).placed
    return [each.operands for each in placed if each is not None]


def _ways(members: list[Operands], edge: Processor) -> list[Passing]:
    return [in_turn(members), *overlapping(members, _TAKES, edge)]


def test_the_wide_map_passes_in_chunks_as_wide_as_the_array(members: list[Operands], edge: Processor) -> None:
    assert [(each.chunk, each.pair) for each in overlapping(members, _TAKES, edge)] == [(32, 0), (0, -1)]


def test_each_stripe_of_each_member_is_made_once_and_behind_what_it_reads(
    members: list[Operands], edge: Processor
) -> None:
    for passing in _ways(members, edge):
        made: dict[tuple[int, int], int] = {}
        for turn in turns(_STRIPES, passing, members):
            key = turn.stripe, turn.member
            assert turn.channels[0] == made.get(key, 0)
            made[key] = turn.channels[1]
            if turn.member:
                is_link = passing.chunk and turn.member == passing.pair + 1
                needed = turn.channels[1] if is_link else members[turn.member - 1].size[1]
                assert made[turn.stripe, turn.member - 1] >= needed
        assert made == {
            (stripe, number): member.size[1] for stripe in range(_STRIPES) for number, member in enumerate(members)
        }


def test_no_more_generations_live_than_are_reckoned_with(members: list[Operands], edge: Processor) -> None:
    for passing in _ways(members, edge):
        order = list(turns(_STRIPES, passing, members))
        for maker, reader in pairwise(range(len(members))):
            by_chunk = passing.chunk > 0 and maker == passing.pair
            spans: dict[tuple[int, int], list[int]] = {}
            for time, turn in enumerate(order):
                if turn.member in (maker, reader):
                    spans.setdefault((turn.stripe, turn.channels[0] if by_chunk else 0), []).append(time)
            alive = max(sum(span[0] <= time <= span[-1] for span in spans.values()) for time in range(len(order)))
            assert alive <= passing.generations(maker)


def test_late_turns_are_those_behind_the_last_of_the_first_member(members: list[Operands], edge: Processor) -> None:
    for passing in _ways(members, edge):
        order = list(turns(_STRIPES, passing, members))
        last = max(time for time, turn in enumerate(order) if turn.member == 0)
        assert all(turn.is_late is False for turn in order[: last + 1])
        if passing.overlaps:
            assert order[-1].is_late
