"""Packings against instances that are known to fit, being a rectangle cut up, and against every order of a few buffers."""

import itertools

import numpy as np
import pytest

from nas.compiler.opt.memory.alloc import allocate, lower_bound_bytes
from nas.compiler.opt.memory.exact import pack

HEIGHT = 1000


def cut_up(generator, count, times=200):
    """A rectangle of `times` by HEIGHT cut into `count`: first and last time, size; they fit without a gap."""
    pieces = [(0, times, 0, HEIGHT)]
    while len(pieces) < count:
        areas = np.array([(end - begin) * (top - bottom) for begin, end, bottom, top in pieces], float)
        index = int(generator.choice(len(pieces), p=areas / areas.sum()))
        begin, end, bottom, top = pieces[index]
        if generator.random() < 0.5 and end - begin > 1:
            at = int(generator.integers(begin + 1, end))
            pieces[index : index + 1] = [(begin, at, bottom, top), (at, end, bottom, top)]
        elif top - bottom > 1:
            at = int(generator.integers(bottom + 1, top))
            pieces[index : index + 1] = [(begin, end, bottom, at), (begin, end, at, top)]
    rows = generator.permutation(np.array(pieces))
    return rows[:, 0], rows[:, 1] - 1, rows[:, 3] - rows[:, 2]


def assert_legal(first, last, size, offset, capacity):
    assert (offset >= 0).all()
    assert (offset + size).max() <= capacity
    for a, b in itertools.combinations(range(len(size)), 2):
        if first[a] <= last[b] and first[b] <= last[a]:
            assert offset[a] + size[a] <= offset[b] or offset[b] + size[b] <= offset[a]


def assert_least_is_found(first, last, size):
    """A packing at the least peak of all, and none below it."""
    least = least_peak(first, last, size)
    found = pack(first, last, size, least, 20_000)
    assert found is not None
    assert_legal(first, last, size, found, least)
    assert pack(first, last, size, least - 1, 20_000) is None


@pytest.mark.parametrize("seed", range(12))
def test_what_fits_without_a_gap_is_found(seed):
    generator = np.random.default_rng(seed)
    first, last, size = cut_up(generator, int(generator.integers(2, 31)))
    offset = pack(first, last, size, HEIGHT, 20_000)
    assert offset is not None
    assert_legal(first, last, size, offset, HEIGHT)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_two_hundred_pieces_without_a_gap_are_found(seed):
    first, last, size = cut_up(np.random.default_rng(seed), 200, times=2000)
    offset = pack(first, last, size, HEIGHT, 20_000)
    assert offset is not None
    assert_legal(first, last, size, offset, HEIGHT)


def test_what_falls_apart_once_a_bridge_is_placed_is_found():
    # Six full rectangles side by side, and beams that join them all: below, above, or wherever it is found out.
    pieces = [cut_up(np.random.default_rng(seed), 20, times=50) for seed in range(6)]
    first = np.concatenate([each[0] + 50 * place for place, each in enumerate(pieces)] + [np.array([0, 0, 0])])
    last = np.concatenate([each[1] + 50 * place for place, each in enumerate(pieces)] + [np.array([299, 299, 299])])
    size = np.concatenate([each[2] for each in pieces] + [np.array([70, 30, 900])])
    offset = pack(first, last, size, 2 * HEIGHT, 20_000)
    assert offset is not None
    assert_legal(first, last, size, offset, 2 * HEIGHT)


@pytest.mark.parametrize("seed", range(10))
def test_the_least_peak_is_found_where_buffers_of_all_lengths_meet(seed):
    generator = np.random.default_rng(100 + seed)
    first = np.concatenate([[0, 2], generator.integers(0, 12, 5)])
    last = np.minimum(12, first + np.concatenate([[12, 7], generator.integers(0, 3, 5)]))
    size = generator.integers(1, 9, 7)
    assert_least_is_found(first, last, size)


def test_how_long_it_is_between_two_moments_does_not_matter():
    first, last, size = cut_up(np.random.default_rng(3), 60)
    sizes = {str(index): int(each) * 64 for index, each in enumerate(size)}
    short, long = (
        {str(index): (int(a) * times, int(b) * times) for index, (a, b) in enumerate(zip(first, last, strict=True))}
        for times in (1, 100_000)
    )
    assert allocate(short, sizes, nodes=0) == allocate(long, sizes, nodes=0)


def least_peak(first, last, size):
    """Of every order, each buffer as low as those before it let it."""
    best = int(size.sum())
    for order in itertools.permutations(range(len(size))):
        offset = np.zeros(len(size), np.int64)
        for place, buffer in enumerate(order):
            met = [other for other in order[:place] if first[other] <= last[buffer] and first[buffer] <= last[other]]
            taken = sorted((offset[other], offset[other] + size[other]) for other in met)
            at = 0
            for low, high in taken:
                if low - at >= size[buffer]:
                    break
                at = max(at, high)
            offset[buffer] = at
        best = min(best, int((offset + size).max()))
    return best


@pytest.mark.parametrize("seed", range(25))
def test_it_finds_the_least_peak_of_all_and_proves_that_there_is_no_less(seed):
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 8, 6)
    last = first + generator.integers(0, 5, 6)
    size = generator.integers(1, 6, 6)
    assert_least_is_found(first, last, size)


def test_the_answer_is_the_same_each_time():
    first, last, size = cut_up(np.random.default_rng(5), 40)
    assert (pack(first, last, size, HEIGHT, 20_000) == pack(first, last, size, HEIGHT, 20_000)).all()


def test_tight_instances_come_closer_to_the_bound_than_by_heuristics_alone():
    searched, heuristic = [], []
    for seed in range(6):
        first, last, size = cut_up(np.random.default_rng(seed), 40)
        spans = {str(index): (int(a), int(b)) for index, (a, b) in enumerate(zip(first, last, strict=True))}
        sizes = {str(index): int(each) * 64 for index, each in enumerate(size)}
        bound = lower_bound_bytes(spans, sizes)
        assert bound == HEIGHT * 64
        searched.append(allocate(spans, sizes).peak_bytes / bound)
        heuristic.append(allocate(spans, sizes, nodes=0).peak_bytes / bound)
    assert np.mean(searched) < 1.02
    assert np.mean(heuristic) > 1.05
