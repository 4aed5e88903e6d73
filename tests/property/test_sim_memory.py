"""Regions of byte memories against a reference that goes bit by bit."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.core.errors import ContractError
from nas.ir.tensor import ELEMENT_BITS, Region, dense
from nas.sim.memory import allocate, read_raw, write_raw


def bits_of(memory, first, count):
    """`count` bits from bit `first` on, the lowest first, as one integer."""
    return sum(((int(memory[(first + i) // 8]) >> ((first + i) % 8)) & 1) << i for i in range(count))


def first_bit(region, index):
    return region.offset_bytes * 8 + sum(i * s for i, s in zip(index, region.strides, strict=True)) * region.bits


@st.composite
def regions(draw):
    """Boxes whose elements do not overlap: strides grow along a random order of the axes, with gaps."""
    bits = draw(st.sampled_from(ELEMENT_BITS))
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5).filter(lambda s: math.prod(s) <= 200))
    order = draw(st.permutations(range(len(shape))))
    strides, step = [0] * len(shape), draw(st.integers(1, 3))
    for axis in order:
        strides[axis] = step
        step = step * shape[axis] + draw(st.integers(0, 3))
    return Region("sram", draw(st.integers(0, 5)), tuple(shape), tuple(strides), bits)


@st.composite
def boxes(draw):
    """Rows on whole bytes, as the compiler lays tensors out, or a box cut out of them."""
    bits = draw(st.sampled_from(ELEMENT_BITS))
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    whole = dense("sram", draw(st.integers(0, 5)), shape, bits)
    return Region("sram", whole.offset_bytes, tuple(draw(st.integers(1, size)) for size in shape), whole.strides, bits)


@given(st.one_of(regions(), boxes()), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_read_matches_the_bits_and_write_touches_no_other(region, seed):
    generator = np.random.default_rng(seed)
    before = generator.integers(0, 256, region.end_bytes + 3, dtype=np.uint8)
    memories = {"sram": before.copy()}
    expected = np.zeros(region.shape, np.uint64)
    for index in itertools.product(*map(range, region.shape)):
        expected[index] = bits_of(before, first_bit(region, index), region.bits)
    assert np.array_equal(read_raw(memories, region), expected)

    raw = generator.integers(0, 2**region.bits, region.shape, dtype=np.uint64)
    raw = raw.astype({16: np.uint16, 32: np.uint32}.get(region.bits, np.uint8))
    write_raw(memories, region, raw)
    wanted = np.unpackbits(before, bitorder="little")
    for index in itertools.product(*map(range, region.shape)):
        first = first_bit(region, index)
        wanted[first : first + region.bits] = [(int(raw[index]) >> i) & 1 for i in range(region.bits)]
    assert np.array_equal(memories["sram"], np.packbits(wanted, bitorder="little"))
    assert np.array_equal(read_raw(memories, region), raw)


def test_memory_starts_as_what_nobody_wrote():
    memories = allocate({"sram": 8})
    assert np.isnan(read_raw(memories, dense("sram", 0, (2,), 32)).view(np.float32)).all()


@pytest.mark.parametrize(
    "region",
    [
        dense("sram", 5, (4,), 8),
        dense("sram", 0, (17,), 4),
        dense("attic", 0, (1,), 8),
        Region("sram", -1, (1,), (1,), 8),
        Region("sram", 0, (0,), (1,), 8),
    ],
)
def test_a_region_outside_its_memory_is_refused(region):
    with pytest.raises(ContractError, match=r"Region\("):
        read_raw(allocate({"sram": 8}), region)


def test_elements_of_another_shape_are_refused():
    with pytest.raises(ContractError, match=r"\(3,\)"):
        write_raw(allocate({"sram": 8}), dense("sram", 0, (4,), 8), np.zeros(3, np.uint8))
