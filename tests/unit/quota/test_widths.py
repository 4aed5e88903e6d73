"""How the quota is spread, against sums by hand and against every possible choice."""

import itertools

import numpy as np
import pytest

from nas.core.errors import InputError
from nas.quota.training.shrinking import Schedule
from nas.quota.training.widths import best_of, fitted, moved, rounded
from nas.quota.urn.allotment import allot, blocks_of, proportional
from nas.quota.worth.price import Lookup

SIZES = {"a": 40, "b": 60, "c": 20}
FLOOR = dict.fromkeys(SIZES, 2)


def plain(align=1):
    return Lookup(lambda counts: float(sum(counts.values())), SIZES, align)


def layers(align=1):
    """What a chain of layers costs: the product of what each reads and makes."""
    return Lookup(lambda counts: 3 * counts["a"] + counts["a"] * counts["b"] + counts["b"] * counts["c"], SIZES, align)


def test_the_urn_shrinks_to_the_quota_and_never_grows():
    schedule = Schedule(begin=0.2, end=0.7)
    totals = [schedule.total(100, 40, progress) for progress in np.linspace(0, 1, 101)]
    assert totals[:21] == [100] * 21
    assert totals[70:] == [40] * 31
    assert totals == sorted(totals, reverse=True)


def test_widths_are_scaled_until_they_cost_the_quota():
    found = fitted(SIZES, plain(), 60, FLOOR)
    assert [round(width) for width in found.values()] == [20, 30, 10]
    small = fitted(SIZES, layers(), 0.25 * layers().whole, FLOOR)
    cost = layers()({name: round(width) for name, width in small.items()})
    assert cost == pytest.approx(0.25 * layers().whole, rel=0.05)
    with pytest.raises(InputError, match="a quota of at least 6, the price of the minima"):
        fitted(SIZES, plain(), 5, FLOOR)


def test_what_earns_more_for_its_price_gets_wider_within_reach():
    widths, reach = {"a": 20.0, "b": 30.0, "c": 10.0}, {"a": 2.0, "b": 3.0, "c": 1.0}
    sure, even = dict.fromkeys(SIZES, 0.0), dict.fromkeys(SIZES, 1.0)
    after = moved(widths, {"a": 5.0, "b": 1.0, "c": 1.0}, sure, even, reach)
    assert after["a"] == pytest.approx(22.0)
    assert 27.0 <= after["b"] < 30.0
    assert moved(widths, even, sure, even, reach) == pytest.approx(widths)
    unsure = moved(widths, {"a": 5.0, "b": 1.0, "c": 1.0}, dict.fromkeys(SIZES, 1e6), even, reach)
    assert unsure == pytest.approx(widths, abs=1e-3)
    dear = moved(widths, {"a": 5.0, "b": 1.0, "c": 1.0}, sure, {"a": 50.0, "b": 1.0, "c": 1.0}, reach)
    assert dear["a"] < 20.0


def test_the_best_channels_for_the_price_fill_the_quota_after_the_floors():
    earning = {"a": np.arange(40.0), "b": np.zeros(60), "c": np.full(20, 100.0)}
    assert best_of(earning, plain(), 30, FLOOR) == {"a": 8.0, "b": 2.0, "c": 20.0}


@pytest.mark.parametrize("align", [1, 4, 8])
@pytest.mark.parametrize("price", [plain, layers])
def test_rounded_widths_are_aligned_within_the_quota_and_leave_no_room_to_who_lacks_some(price, align):
    lookup = price(align)
    floor = dict.fromkeys(SIZES, align)
    generator = np.random.default_rng(0)
    for _ in range(20):
        start = {name: float(generator.uniform(align, size)) for name, size in SIZES.items()}
        limit = float(generator.uniform(0.3, 0.8)) * lookup.whole
        widths = fitted(start, lookup, limit, floor)
        counts = rounded(widths, lookup, limit, floor, align)
        assert lookup(counts) <= limit * (1 + 1e-6)
        for name, count in counts.items():
            assert count % align == 0 or count == SIZES[name]
            wider = min(SIZES[name], (count // align + 1) * align)
            assert count < widths[name] + align
            assert count >= widths[name] or lookup({**counts, name: wider}) > limit


def test_who_costs_nothing_does_not_get_all():
    lookup = Lookup(lambda counts: counts["a"] + counts["b"] + 1e-6 * counts["c"], SIZES, 4)
    counts = rounded({"a": 10.0, "b": 11.0, "c": 5.0}, lookup, 23.0, dict.fromkeys(SIZES, 4), 4)
    assert counts == {"a": 8, "b": 12, "c": 8}


def test_prices_are_asked_for_once_and_between_blocks_channels_are_free():
    asked = []
    lookup = Lookup(lambda counts: asked.append(dict(counts)) or float(sum(counts.values())), SIZES, 8)
    assert lookup({"a": 9, "b": 16, "c": 1}) == lookup({"a": 16, "b": 10, "c": 8}) == 40
    assert len(asked) == 1
    assert lookup.marginal({"a": 16, "b": 16, "c": 8})["a"] == pytest.approx(1.0)


def test_numbers_in_proportion_keep_their_bounds_and_their_sum():
    generator = np.random.default_rng(1)
    for _ in range(100):
        high = generator.integers(1, 30, 5)
        low = np.minimum(high, generator.integers(0, 4, 5))
        weights = generator.uniform(0.1, 10, 5)
        total = int(generator.integers(low.sum(), high.sum() + 1))
        found = proportional(weights, total, low, high)
        assert found.sum() == pytest.approx(total)
        assert (found >= low - 1e-9).all()
        assert (found <= high + 1e-9).all()
        free = (found > low + 1e-6) & (found < high - 1e-6)
        for one, other in itertools.pairwise(np.flatnonzero(free)):
            assert found[one] / found[other] == pytest.approx(weights[one] / weights[other])


@pytest.mark.parametrize("align", [1, 8])
def test_draws_of_blocks_have_exactly_the_widths_as_means(align):
    blocks = blocks_of({"a": 96, "b": 128, "c": 64}, align, dict.fromkeys("abc", align))
    widths = {"a": 24.0, "b": 81.6, "c": 38.4}
    allotment = allot(blocks, widths, blocks.blocks.sum() // 2 + 8)
    counts = blocks.channels(allotment.draws().counts(np.random.default_rng(0), 40_000))
    assert (counts.sum(axis=1) == 144).all()
    assert (counts % align == 0).all()
    assert counts.mean(axis=0) == pytest.approx(list(widths.values()), abs=0.15)
    assert (counts <= blocks.channels(allotment.balls)).all()
