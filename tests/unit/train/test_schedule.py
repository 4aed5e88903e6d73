"""Every schedule stays within its bounds, and is torch's own where torch has it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer, lr_scheduler

from nas.core.errors import InputError
from nas.train.config import TrainConfig
from nas.train.recipe.schedule import SCHEDULES, ScheduleShape, factor

SHAPES = [ScheduleShape(), ScheduleShape(cycles=3, cycle_growth=2.0, cycle_decay=0.5), ScheduleShape(milestones=())]


def _torch(make: Callable[[Optimizer], Any], steps: int, rate: float = 1.0) -> list[float]:
    optimizer = SGD([torch.zeros(1)], lr=rate)
    schedule, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


def _ours(name: str, shape: ScheduleShape, steps: int) -> list[float]:
    return [factor(name, shape, step, steps) for step in range(steps)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_are_above_zero_and_at_most_one(name: str, steps: int, shape: ScheduleShape) -> None:
    assert all(0.0 < value <= 1.0 for value in _ours(name, shape, steps))


def test_one_cycle_rises_to_its_peak_and_falls() -> None:
    factors = _ours("one_cycle", ScheduleShape(), 401)
    peak = factors.index(max(factors))
    assert peak == 100
    assert factors[peak] == 1.0
    assert factors[:101] == sorted(factors[:101])
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert factors[0] == pytest.approx(0.04)
    assert factors[-1] == pytest.approx(0.001)


def test_one_cycle_is_torchs() -> None:
    """Torch counts its rise from step -1: (share * steps - 1) steps are our share * (steps - 1)."""
    shape, steps = ScheduleShape(first=0.1, last=0.002, rise=0.3), 101
    expected = _torch(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=steps,
            pct_start=(0.3 * (steps - 1) + 1) / steps,
            div_factor=10.0,
            final_div_factor=50.0,
            cycle_momentum=False,
        ),
        steps - 1,
    )
    assert _ours("one_cycle", shape, steps)[:-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("mode", "decay"), [("triangular", 1.0), ("triangular2", 0.5)])
def test_triangular_is_torchs(mode: Any, decay: float) -> None:
    shape = ScheduleShape(first=0.25, cycles=4, cycle_decay=decay)
    expected = _torch(
        lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.25, 1.0, 10, mode=mode, cycle_momentum=False), 80
    )
    assert _ours("triangular", shape, 80) == pytest.approx(expected)


@pytest.mark.parametrize(("growth", "cycles", "steps"), [(1, 4, 80), (2, 3, 140)])
def test_cosine_with_restarts_is_torchs_before_the_last(growth: int, cycles: int, steps: int) -> None:
    shape = ScheduleShape(last=0.01, cycles=cycles, cycle_growth=growth)
    expected = _torch(
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 20, T_mult=growth, eta_min=0.01), steps
    )
    ours, last = _ours("cosine", shape, steps), steps - 20 * growth ** (cycles - 1)
    assert ours[:last] == pytest.approx(expected[:last])
    assert ours[last] == 1.0
    assert ours[-1] == pytest.approx(0.01), "the last cycle ends at the bottom, not a step before it"


def test_cosine_alone_is_torchs() -> None:
    expected = _torch(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.001), 101)
    assert _ours("cosine", ScheduleShape(), 101) == pytest.approx(expected)


def test_step_is_torchs() -> None:
    expected = _torch(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [30, 60, 90], gamma=0.2), 100)
    assert _ours("step", ScheduleShape(milestones=(0.3, 0.6, 0.9), drop=0.2), 100) == pytest.approx(expected)


def test_a_linear_warm_up_is_torchs() -> None:
    def make(optimizer: Optimizer) -> Any:
        rise = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
        return lr_scheduler.SequentialLR(optimizer, [rise, lr_scheduler.ConstantLR(optimizer, 1.0)], [10])

    assert _ours("constant", ScheduleShape(first=0.1, warm_up=0.2), 50) == pytest.approx(_torch(make, 50))
    warmed = _ours("cosine", ScheduleShape(warm_up=0.2), 50)
    assert warmed[10:] == _ours("cosine", ScheduleShape(), 40)


def test_unknown_schedule_names_the_near_one() -> None:
    with pytest.raises(InputError, match="did you mean 'one_cycle'"):
        SCHEDULES["onecycle"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"first": 0.0}, "first: expected 0 < factor <= 1"),
        ({"rise": 1.0}, "rise: expected 0 <= share < 1"),
        ({"cycles": 0}, "cycles: expected at least 1"),
        ({"cycle_growth": 0.5}, "cycle_growth: expected 1 to 100"),
        ({"milestones": (0.7, 0.2)}, "milestones: expected rising shares"),
    ],
)
def test_bad_shapes_name_their_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScheduleShape(**fields)


def test_what_rises_by_itself_takes_no_warm_up() -> None:
    TrainConfig(schedule="cosine", shape=ScheduleShape(warm_up=0.1))
    with pytest.raises(InputError, match="warm_up: expected 0, because one_cycle rises by itself"):
        TrainConfig(shape=ScheduleShape(warm_up=0.1))
