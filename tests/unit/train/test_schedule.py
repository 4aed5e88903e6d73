"""Every schedule stays within its bounds; each has the shape of its name."""

import pytest

from nas.core.errors import InputError
from nas.train.schedule import SCHEDULES


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_are_above_zero_and_at_most_one(name: str, steps: int) -> None:
    factors = [SCHEDULES[name](step, steps) for step in range(steps)]
    assert all(0.0 < factor <= 1.0 for factor in factors)


def test_one_cycle_rises_to_its_peak_and_falls() -> None:
    factors = [SCHEDULES["one_cycle"](step, 401) for step in range(401)]
    peak = factors.index(max(factors))
    assert peak == 100
    assert factors[peak] == 1.0
    assert factors[:101] == sorted(factors[:101])
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert factors[0] == pytest.approx(0.04)
    assert factors[-1] == pytest.approx(0.001)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert SCHEDULES["cosine"](0, 101) == 1.0
    assert SCHEDULES["cosine"](50, 101) == pytest.approx((1 + 0.001) / 2)


def test_unknown_schedule_names_the_near_one() -> None:
    with pytest.raises(InputError, match="did you mean 'one_cycle'"):
        SCHEDULES["onecycle"]
