"""Weights of curves that are known, and the best widths against all widths there are."""

import itertools

import numpy as np
import pytest

from nas.quota.worth.curves import best_widths, weights_of
from nas.quota.worth.price import Lookup


def test_weights_are_found_and_kept_near_each_other_where_nothing_is_known():
    generator = np.random.default_rng(0)
    lost = generator.uniform(0, 0.2, (20, 3))
    losses = 0.2 + lost @ np.array([0.5, 1.0, 0.25]) + generator.normal(0, 1e-4, 20)
    found = weights_of(lost, losses)
    assert found / found[1] == pytest.approx([0.5, 1, 0.25], rel=0.15)
    noise = weights_of(lost, lost.sum(1) + generator.normal(0, 0.2, 20))
    assert noise == pytest.approx(1, abs=0.75)
    assert weights_of(lost, -lost.sum(1)).tolist() == [1, 1, 1]
    assert weights_of(lost[:2], losses[:2]).tolist() == [1, 1, 1]
    assert weights_of(lost, np.ones(20)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_best_widths_are_near_the_best_of_all(seed):
    generator = np.random.default_rng(seed)
    sizes = {"a": 24, "b": 32, "c": 20}
    curves = {name: np.exp(-np.arange(size + 1) / generator.uniform(3, 12)) for name, size in sizes.items()}

    def cost_of(counts):
        a, b, c = counts.values()
        return 10 * a + -(-a // 8) * 8 * b + b * c + 5 * (c % 16)  # neither smooth nor rising

    lookup = Lookup(cost_of, sizes, 4)
    limit = 0.4 * lookup.whole
    floor = dict.fromkeys(sizes, 4)
    choices = [range(4, size + 1, 4) for size in sizes.values()]
    every = [dict(zip(sizes, counts, strict=True)) for counts in itertools.product(*choices)]
    allowed = [counts for counts in every if lookup(counts) <= limit]

    def lost(counts):
        return sum(curves[name][count] for name, count in counts.items())

    start = dict.fromkeys(sizes, 4)
    found = best_widths(curves, start, lookup, limit, floor, 4)
    assert lookup(found) <= limit
    assert found in every
    assert lost(found) <= 1.1 * min(map(lost, allowed))
    assert lost(best_widths(curves, found, lookup, limit, floor, 4)) <= lost(found)


def test_a_group_may_stay_whole_where_its_size_is_no_multiple_of_a_block():
    sizes = {"a": 10, "b": 10}
    curves = {"a": np.linspace(1, 0, 11), "b": np.zeros(11)}
    lookup = Lookup(lambda counts: float(sum(counts.values())), sizes, 4)
    assert best_widths(curves, {"a": 4, "b": 4}, lookup, 14.0, {"a": 4, "b": 4}, 4) == {"a": 10, "b": 4}
