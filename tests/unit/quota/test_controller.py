import numpy as np
import pytest

from nas.core.errors import InputError
from nas.quota.controller import Schedule, adjusted, earnings, urn_of

NAN = float("nan")


def alive_of(**groups):
    return {name: np.array(channels, bool) for name, channels in groups.items()}


def test_the_schedule_goes_from_all_channels_to_the_quota_and_never_back():
    schedule = Schedule(begin=0.2, end=0.7)
    totals = [schedule.total(100, 40, progress) for progress in np.linspace(0, 1, 101)]
    assert totals[:21] == [100] * 21
    assert totals[70:] == [40] * 31
    assert totals == sorted(totals, reverse=True)
    assert totals[45] == 70


def test_those_that_earn_least_go_whatever_their_group():
    alive = alive_of(a=[1, 1, 1], b=[1, 1])
    earning = {"a": np.array([5.0, 1.0, 4.0]), "b": np.array([3.0, 2.0])}
    after = adjusted(alive, earning, {"a": 1, "b": 1}, 3)
    assert after["a"].tolist() == [True, False, True]
    assert after["b"].tolist() == [True, False]


def test_no_group_falls_below_its_minimum():
    alive = alive_of(a=[1, 1, 1], b=[1, 1])
    earning = {"a": np.array([5.0, 6.0, 7.0]), "b": np.array([0.2, 0.1])}
    assert adjusted(alive, earning, {"a": 1, "b": 1}, 2)["b"].tolist() == [True, False]
    with pytest.raises(InputError, match="at least the groups' minima, 2"):
        adjusted(alive, earning, {"a": 1, "b": 1}, 1)


def test_what_had_gone_comes_back_if_it_earned_more_and_only_so_many():
    alive = alive_of(a=[1, 1, 1, 1], b=[0, 0, 0, 1])
    earning = {"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array([9.0, 8.0, NAN, 5.0])}
    after = adjusted(alive, earning, {"a": 1, "b": 1}, 5, returning=0.2)
    assert after["a"].tolist() == [False, True, True, True]
    assert after["b"].tolist() == [True, False, False, True]
    unchanged = adjusted(alive, earning, {"a": 1, "b": 1}, 5, returning=0.0)
    assert unchanged["b"].tolist() == [False, False, False, True]


def test_a_channel_that_was_never_seen_is_not_judged():
    alive = alive_of(a=[1, 1, 1])
    after = adjusted(alive, {"a": np.array([1.0, NAN, 2.0])}, {"a": 1}, 2)
    assert after["a"].tolist() == [False, True, True]


def test_random_adjustments_meet_the_total_and_the_minima():
    generator = np.random.default_rng(0)
    for _ in range(100):
        sizes = generator.integers(1, 20, 4)
        alive = {str(index): generator.random(size) < 0.7 for index, size in enumerate(sizes)}
        for channels in alive.values():
            channels[0] = True
        earning = {name: generator.normal(size=len(channels)) for name, channels in alive.items()}
        minimum = dict.fromkeys(alive, 1)
        total = int(generator.integers(4, sum(channels.sum() for channels in alive.values()) + 1))
        after = adjusted(alive, earning, minimum, total)
        assert urn_of(after, minimum, 4).total == total
        assert all(channels.any() for channels in after.values())


def test_prices_divide_and_must_be_positive():
    found = earnings({"a": np.array([2.0, 4.0])}, {"a": 2.0})
    assert found["a"].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match=r"price of a: expected a number above 0, got 0"):
        earnings({"a": np.array([2.0])}, {"a": 0})
