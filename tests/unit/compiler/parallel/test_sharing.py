"""Sharing work out: every element is somebody's, parts of tensors lie where the whole does, schedules keep their order."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES
from nas.compiler.parallel.box import Box, box_shape, meet, shares, whole_box
from nas.compiler.parallel.candidates import candidates
from nas.compiler.parallel.estimate import Estimator
from nas.compiler.parallel.order import Job, list_schedule
from nas.compiler.parallel.partition import Partition, pieces_of
from nas.compiler.parallel.piece import CannotCut
from nas.compiler.parallel.relocate import as_part
from nas.compiler.parallel.stages import choose_stages
from nas.compiler.passes import run_passes
from nas.compiler.precision import AS_IT_IS, network_in
from nas.core.errors import ContractError
from nas.hw.load import find_processor
from nas.ir.command import Command, Copy, Load
from nas.ir.tensor import Region, box, dense
from tests.networks import random_arch

QUAD_NPU = find_processor("quad_npu")


def passed(seed: int, batch: int) -> Network:
    module = models.build(random_arch(np.random.default_rng(seed), quantised=True), seed).eval()
    return run_passes(PASSES, network_in(module, (batch, 3, 16, 16), QUAD_NPU, AS_IT_IS, "random"), QUAD_NPU)


@given(st.integers(0, 100), st.integers(1, 9), st.integers(1, 8))
def test_shares_cover_a_range_without_overlap(count: int, parts: int, step: int) -> None:
    found = shares(count, parts, step)
    assert len(found) == parts
    assert [place for start, stop in found for place in range(start, stop)] == list(range(count))
    assert all(start % step == 0 for start, stop in found if start < stop)


@pytest.mark.parametrize(("seed", "batch"), [(1, 1), (2, 4), (3, 3)])
def test_every_element_that_leaves_a_stretch_is_made_by_one_core(seed: int, batch: int) -> None:
    network = passed(seed, batch)
    for partition in candidates(network, QUAD_NPU, 4):
        made: dict[str, list[Box]] = {}
        for piece in pieces_of(network, partition):
            for name, goal in piece.goals.items():
                made.setdefault(name, []).append(goal)
        assert set(network.outputs) <= set(made)
        for name, goals in made.items():
            counts = np.zeros(network.tensors[name].shape, np.int8)
            for goal in goals:
                counts[tuple(slice(*part) for part in goal)] += 1
            assert (counts == 1).all(), (partition.name, name)


def addresses(region: Region) -> list[int]:
    """The byte of each element, in row-major order."""
    steps = itertools.product(*map(range, region.shape))
    return [
        region.offset_bytes + sum(i * s for i, s in zip(at, region.strides, strict=True)) * region.bits // 8
        for at in steps
    ]


@st.composite
def parts_of_tensors(draw: st.DrawFn) -> tuple[Region, Box, Region]:
    """A whole tensor, a box of it, and a region of a dense tensor of the box's shape."""
    rank = draw(st.integers(2, 4))
    shape = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    bounds = [sorted(draw(st.tuples(st.integers(0, size - 1), st.integers(1, size)))) for size in shape]
    part = tuple((start, max(stop, start + 1)) for start, stop in bounds)
    local = dense("dram", 64, box_shape(part), 16)
    inner = [sorted(draw(st.tuples(st.integers(0, size - 1), st.integers(1, size)))) for size in box_shape(part)]
    region = box(local, *((start, max(stop, start + 1)) for start, stop in inner))
    keep = draw(st.lists(st.booleans(), min_size=rank, max_size=rank))
    if draw(st.booleans()):  # some axes only, in another order
        axes = draw(st.permutations([axis for axis in range(rank) if keep[axis]]))
        region = Region(
            "dram",
            region.offset_bytes,
            tuple(region.shape[axis] for axis in axes),
            tuple(region.strides[axis] for axis in axes),
            16,
        )
    elif draw(st.booleans()):  # all of it in one row
        region = Region("dram", 64, (int(np.prod(local.shape)),), (1,), 16)
    return dense("dram", 256, shape, 16), part, region


@settings(max_examples=300, deadline=None)
@given(parts_of_tensors())
def test_a_part_of_a_tensor_lies_where_the_whole_tensor_has_it(drawn: tuple[Region, Box, Region]) -> None:
    whole, part, region = drawn
    local = dense("dram", 64, box_shape(part), 16)
    there = box(whole, *part)
    expected = dict(zip(addresses(local), addresses(there), strict=True))
    try:
        moved = as_part(region, local, there)
    except CannotCut:
        # Only a row that runs on over a gap can't be said.
        assert region.shape == (int(np.prod(local.shape)),)
        assert part != whole_box(whole.shape)
        return
    assert addresses(moved) == [expected[address] for address in addresses(region)]


def test_stages_have_the_smallest_longest_stage() -> None:
    network = passed(4, 4)
    found = choose_stages(network, QUAD_NPU, 3, 4)
    assert found is not None
    partition, cycles = found
    assert [stretch.first for stretch in partition.stretches[1:]] == [s.last for s in partition.stretches[:-1]]
    count = len(network.operators)
    estimator = Estimator(network, QUAD_NPU, Partition("", (), 3, 1, 4))
    costs = [dict(estimator.backwards(last, "stage", last)) for last in range(count + 1)]
    best = min(max(costs[a][0], costs[b][a], costs[count][b]) for a in range(1, count - 1) for b in range(a + 1, count))
    assert cycles == best * (3 + 4 - 1)


def test_one_image_makes_no_pipeline() -> None:
    assert choose_stages(passed(4, 1), QUAD_NPU, 3, 1) is None
    assert all(partition.chunks == 1 for partition in candidates(passed(4, 1), QUAD_NPU, 4))


@st.composite
def job_lists(draw: st.DrawFn) -> list[Job]:
    """Jobs of two cores that depend on earlier ones of either; the places are those in their core's own program."""
    jobs: list[Job] = []
    places = [0, 0]
    for number in range(draw(st.integers(1, 25))):
        core = draw(st.integers(0, 1))
        here, there = dense("sram", 0, (8,), 8), dense("dram", 0, (draw(st.integers(1, 4000)),), 8)
        loads = draw(st.booleans())
        command = (
            Command("dma_in", "l", (there,), (here,), Load())
            if loads
            else Command("vector", "l", (here,), (here,), Copy())
        )
        after = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        jobs.append(Job(command, f"{command.engine}{core or ''}", places[core], after))
        places[core] += 1
    return jobs


@settings(max_examples=100, deadline=None)
@given(job_lists(), st.sampled_from([None, 0, 1, 8]))
def test_a_schedule_has_every_job_once_behind_what_it_follows(jobs: list[Job], window: int | None) -> None:
    order = list(list_schedule(jobs, QUAD_NPU, window).numbers)
    assert sorted(order) == list(range(len(jobs)))
    turn = {number: place for place, number in enumerate(order)}
    assert all(turn[other] < turn[number] for number, job in enumerate(jobs) for other in job.after)
    assert list(list_schedule(jobs, QUAD_NPU, window).numbers) == order


def test_jobs_that_wait_for_each_other_are_refused() -> None:
    copy = Command("vector", "l", (dense("sram", 0, (8,), 8),), (dense("sram", 0, (8,), 8),), Copy())
    with pytest.raises(ContractError, match="wait for each other"):
        list_schedule([Job(copy, "vector", 0, {1}), Job(copy, "vector1", 0, {0})], QUAD_NPU)


def test_boxes_meet_where_they_share_an_element() -> None:
    assert meet(((0, 2), (0, 4)), ((1, 3), (3, 5)))
    assert not meet(((0, 2), (0, 4)), ((2, 3), (0, 4)))
