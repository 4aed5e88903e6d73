"""Overlap and coverage of regions against sets of bytes that are written out one by one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.check.marks import Written
from nas.check.memory import Lattice, _runs_meet, lattices, overlap, ragged_breach, repeats, span_bytes
from nas.ir.tensor import ELEMENT_BITS, Region, dense


def element_bits(region: Region) -> list[int]:
    """The first bit of every element, straight from the definition of a region."""
    return [
        region.offset_bytes * 8 + sum(i * s for i, s in zip(index, region.strides, strict=True)) * region.bits
        for index in product(*map(range, region.shape))
    ]


def touched(region: Region) -> set[int]:
    return {bit >> 3 for first in element_bits(region) for bit in range(first, first + region.bits)}


def bits_of(region: Region) -> set[int]:
    return {bit for first in element_bits(region) for bit in range(first, first + region.bits)}


@st.composite
def regions(draw: st.DrawFn) -> Region:
    axes = draw(st.integers(0, 4))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=axes, max_size=axes)))
    strides = tuple(draw(st.lists(st.integers(0, 40), min_size=axes, max_size=axes)))
    if draw(st.booleans()) and axes:  # as compilers make them: a box cut out of a dense tensor
        parent = tuple(size + draw(st.integers(0, 3)) for size in shape)
        strides = dense("sram", 0, parent, 8).strides
    return Region("sram", draw(st.integers(0, 60)), shape, strides, draw(st.sampled_from(ELEMENT_BITS)))


@given(regions(), regions())
@settings(max_examples=400, deadline=None)
def test_overlap_is_a_common_byte(a: Region, b: Region) -> None:
    expected = bool(touched(a) & touched(b))
    assert overlap(a, b) == overlap(b, a) == expected


@st.composite
def ragged_regions(draw: st.DrawFn) -> Region:
    """Elements of less than a byte at odd distances, in rows that begin on whole bytes."""
    bits, columns, stride = draw(st.sampled_from((1, 2, 4))), draw(st.integers(1, 40)), draw(st.integers(1, 37))
    rows = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 60)), max_size=2))
    shape = (*(size for size, _ in rows), columns)
    strides = (*(step_bytes * 8 // bits for _, step_bytes in rows), stride)
    return Region("sram", draw(st.integers(0, 60)), shape, strides, bits)


@given(ragged_regions(), ragged_regions())
@settings(max_examples=300, deadline=None)
def test_overlap_of_elements_at_odd_distances_is_a_common_byte(a: Region, b: Region) -> None:
    assert overlap(a, b) == overlap(b, a) == bool(touched(a) & touched(b))


@given(regions())
@settings(max_examples=300, deadline=None)
def test_lattices_are_the_touched_bytes(region: Region) -> None:
    found: set[int] = set()
    for start, run, axes in lattices(region.shape, region.strides, region.bits):
        for index in product(*(range(size) for _, size in axes)):
            first = region.offset_bytes + start + sum(i * s for i, (s, _) in zip(index, axes, strict=True))
            found.update(range(first, first + run))
    assert found == touched(region)
    assert max(found) + 1 == region.offset_bytes + span_bytes(region.shape, region.strides, region.bits)


@given(regions())
@settings(max_examples=300, deadline=None)
def test_repeats_is_an_element_met_twice(region: Region) -> None:
    bits = element_bits(region)
    assert repeats(region.shape, region.strides) == (len(set(bits)) < len(bits))


@given(regions(), regions(), regions())
@settings(max_examples=300, deadline=None)
def test_missing_finds_every_bit_never_written(a: Region, b: Region, read: Region) -> None:
    written = Written(8192)
    written.add(a)
    written.add(b)
    left = bits_of(read) - bits_of(a) - bits_of(b)
    # Bytes that several elements share are counted once for each; what matters is whether there are any.
    assert (written.missing(read) > 0) == bool(left)
    assert written.missing(a) == written.missing(b) == 0


@given(st.lists(st.tuples(regions(), st.booleans()), max_size=12))
@settings(max_examples=200, deadline=None)
def test_what_is_known_to_be_written_is_what_was_written(steps: list[tuple[Region, bool]]) -> None:
    written, bits = Written(8192), set[int]()
    for region, is_written in steps:
        if is_written:
            written.add(region)
            bits |= bits_of(region)
        assert (written.missing(region) > 0) == bool(bits_of(region) - bits)


@given(st.integers(-80, 80), st.data())
@settings(max_examples=200, deadline=None)
def test_written_out_runs_agree_with_sets(distance: int, data: st.DataObject) -> None:
    axis = st.tuples(st.integers(1, 20), st.integers(1, 5))
    pair = []
    for _ in range(2):
        axes = tuple(sorted(data.draw(st.lists(axis, max_size=3)), reverse=True))
        pair.append(Lattice(0, data.draw(st.integers(1, 9)), axes))
    sets = []
    for lattice, start in zip(pair, (0, distance), strict=True):
        starts = np.zeros(1, np.int64)
        for stride, size in lattice.axes:
            starts = (starts[:, None] + np.arange(size) * stride).reshape(-1)
        sets.append({start + int(first) + byte for first in starts for byte in range(lattice.run_bytes)})
    assert _runs_meet(*pair, distance) == bool(sets[0] & sets[1])


def test_a_hostile_layout_ends_in_an_answer() -> None:
    """Many near-equal strides: the search gives up and the runs are written out, or too many for that."""
    shape, strides = (50,) * 6, (1009, 1013, 1019, 1021, 1031, 1033)
    a = Region("dram", 0, shape, tuple(2 * stride for stride in strides), 8)
    b = Region("dram", 1, shape, tuple(2 * stride for stride in strides), 8)
    assert overlap(a, b)  # a false alarm, by design: too many combinations to rule it out
    small = Region("dram", 0, (30, 30, 30), (2 * 1009, 2 * 1013, 2 * 1019), 8)
    shifted = Region("dram", 1, (30, 30, 30), (2 * 1009, 2 * 1013, 2 * 1019), 8)
    assert not overlap(small, shifted)


def test_a_region_of_more_elements_at_odd_distances_than_anybody_writes_out_is_refused() -> None:
    def is_refused(shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> bool:
        return bool(ragged_breach(Region("dram", 0, shape, strides, bits)))

    assert not is_refused((1024,), (17,), 1)
    assert is_refused((1025,), (17,), 1)
    assert is_refused((1, 2, 513), (1 << 20, 4133, 3), 4)
    assert not is_refused((4, 1 << 20), (1 << 22, 1), 1)  # rows, however long
    assert not is_refused((1 << 20, 4), (8, 1), 1)
    assert not is_refused((1 << 20,), (17,), 8)  # whole bytes


@pytest.mark.timeout(20)
def test_many_elements_at_odd_distances_are_compared_at_once() -> None:
    """All pairs one by one would be a million questions for each of the distances."""
    a = Region("dram", 0, (1024,), (17,), 1)
    for offset in range(40):
        b = Region("dram", offset, (1024,), (17,), 1)
        assert overlap(a, b) == bool(touched(a) & touched(b))
    rows = Region("dram", 0, (1000, 256), (8 * 600, 17), 1)
    for offset in range(1, 500):
        b = Region("dram", offset, (1000, 256), (8 * 600, 17), 1)
        assert overlap(rows, b) == bool(touched_of_a_row(rows) & touched_of_a_row(b))


def touched_of_a_row(region: Region) -> set[int]:
    """The bytes of one row; those of the others are the same, so many rows further on."""
    row = Region(region.memory, region.offset_bytes, region.shape[1:], region.strides[1:], region.bits)
    return {byte % (region.strides[0] * region.bits // 8) for byte in touched(row)}
