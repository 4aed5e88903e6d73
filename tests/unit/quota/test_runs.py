"""What is taken out and put back by runs of memory, against torch's own indexing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.quota.channels.slices import Places, put_back, take

SETTLED = settings(max_examples=150, deadline=None, derandomize=True)


@st.composite
def cases(draw):
    """A tensor that lies in memory in any order, or is part of another, and what stays of some of its axes, in blocks."""
    sizes = [draw(st.integers(1, 12)) for _ in range(draw(st.integers(1, 4)))]
    order = draw(st.permutations(range(len(sizes))))
    seed = draw(st.integers(0, 99))
    whole = torch.randn([sizes[axis] + 2 for axis in order], generator=torch.Generator().manual_seed(seed))
    if draw(st.booleans()):
        whole = whole[tuple(slice(1, 1 + sizes[axis]) for axis in order)]  # not dense
    else:
        whole = whole[tuple(slice(0, sizes[axis]) for axis in order)].clone(memory_format=torch.contiguous_format)
    tensor = whole.permute([order.index(axis) for axis in range(len(sizes))])
    kept = {}
    for axis in draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1)):
        block = draw(st.sampled_from([length for length in (1, 2, 4) if sizes[axis] % length == 0]))
        blocks = draw(st.sets(st.integers(0, sizes[axis] // block - 1), min_size=1))
        kept[axis] = np.array([number * block + place for number in sorted(blocks) for place in range(block)])
    return tensor, kept


@given(cases())
@SETTLED
def test_taking_and_putting_back_are_indexing(case):
    tensor, kept = case
    places = Places(kept, tensor.device)
    expected = tensor.clone()
    for axis, indices in kept.items():
        expected = expected.index_select(axis, torch.from_numpy(indices))
    taken = take(tensor, places)
    assert torch.equal(taken, expected)
    grid = np.ix_(*(kept.get(axis, np.arange(size)) for axis, size in enumerate(tensor.shape)))
    wanted = tensor.clone().numpy().copy()
    wanted[grid] = expected.numpy() + 1
    put_back(tensor, taken + 1, places)
    assert np.array_equal(tensor.numpy(), wanted)


@pytest.mark.parametrize(("channels", "length"), [([0, 3, 5], 16), ([2, 3, 6, 7], 32), (list(range(8)), 128)])
def test_a_flattened_map_is_moved_in_runs(channels, length):
    columns = np.add.outer(np.array(channels) * 16, np.arange(16)).ravel()
    weight = torch.randn(6, 128)
    runs = Places({0: np.array([1, 4]), 1: columns}, weight.device).runs(weight)
    assert runs.length == length
    assert len(runs.starts) * length == 2 * len(columns)


def test_memory_keeps_its_order():
    kernel = torch.randn(8, 6, 3, 3).to(memory_format=torch.channels_last)
    small = take(kernel, Places({0: np.array([0, 7]), 1: np.array([1, 2, 5])}, kernel.device))
    assert small.is_contiguous(memory_format=torch.channels_last)
