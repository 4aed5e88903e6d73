"""The clouds: the same sky for the same seed, no bytes lost, and never quicker than a clear day."""

import math

import msgspec
import numpy as np
import pytest

import models
from nas.compiler.driver import Compiled, compile_network
from nas.core.errors import InputError
from nas.hw.load import find_processor
from nas.sim.clouds import Clouds, Sky
from nas.sim.parallel import simulate_parallel
from nas.timing.cycles import bandwidth
from tests.networks import random_arch

PROCESSOR = find_processor("micro_npu")
CLEAR = Clouds(latency_sigma=0.0, stolen_share=0.0, refresh_s=0.0)


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    made = compile_network(
        models.build(random_arch(np.random.default_rng(4), quantised=True), 4), (1, 3, 16, 16), PROCESSOR
    )
    assert isinstance(made, Compiled)
    return made


def test_a_sky_without_clouds_is_no_sky(compiled: Compiled) -> None:
    assert simulate_parallel(compiled.parallel, PROCESSOR, CLEAR) == simulate_parallel(compiled.parallel, PROCESSOR)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(compiled: Compiled) -> None:
    runs = [simulate_parallel(compiled.parallel, PROCESSOR, Clouds(seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].cycles != runs[2].cycles


@pytest.mark.parametrize(
    "clouds", [Clouds(3), Clouds(3, 0.0, 0.3), Clouds(3, 0.0, 0.0), Clouds(3, 1.0, 0.0, refresh_s=0.0)]
)
def test_clouds_cost_time_and_nothing_else(compiled: Compiled, clouds: Clouds) -> None:
    clear, cloudy = (
        simulate_parallel(compiled.parallel, PROCESSOR),
        simulate_parallel(compiled.parallel, PROCESSOR, clouds),
    )
    assert cloudy.cycles > clear.cycles
    assert (cloudy.dram_bytes, cloudy.sram_bytes, cloudy.macs) == (clear.dram_bytes, clear.sram_bytes, clear.macs)


def test_the_bandwidth_that_is_left_is_what_the_shares_say() -> None:
    """Over many slots: the mean of the exponential (cut at 0.9, which takes off 0.0004) and the refresh's share."""
    clouds = Clouds(5, stolen_share=0.15)
    cycles = 40_000_000
    left = Sky(clouds, PROCESSOR).work(0, cycles) / (cycles * bandwidth(PROCESSOR))
    assert left == pytest.approx(0.85 * (1 - 0.18 / 3.9), rel=0.01)


def test_work_and_the_cycle_that_ends_it_agree() -> None:
    sky, generator = Sky(Clouds(6), PROCESSOR), np.random.default_rng(0)
    for first, amount in generator.integers(0, 20_000, (300, 2)).tolist():
        work = amount * 997_001
        last = sky.cycle_of(first, work)
        assert sky.work(first, last) >= work
        assert last == first or sky.work(first, last - 1) < work


def test_latencies_are_those_of_the_command_whatever_was_asked_before() -> None:
    one, other = Sky(Clouds(7), PROCESSOR), Sky(Clouds(7), PROCESSOR)
    first = [one.extra_latency_cycles("dma_in", place) for place in range(50)]
    assert first == [other.extra_latency_cycles("dma_in", place) for place in reversed(range(50))][::-1]
    assert min(first) == 0 < max(first)
    assert first != [one.extra_latency_cycles("dma_out", place) for place in range(50)]


@pytest.mark.parametrize(
    ("field", "amount"),
    [
        *(("latency_sigma", amount) for amount in (-1.0, 300.0, math.inf, math.nan)),
        *(("stolen_share", amount) for amount in (-0.1, 1.0, math.nan)),
        *(("slot_s", amount) for amount in (0.0, math.inf, math.nan)),
        *(("refresh_every_s", amount) for amount in (math.inf, math.nan)),
        *(("refresh_s", amount) for amount in (-1.0, 3.9e-6, 1.0, math.inf, math.nan)),
    ],
)
def test_a_sky_that_cannot_be_is_refused_by_its_field(field: str, amount: float) -> None:
    """Not later, in the middle of a run, by an overflow."""
    with pytest.raises(InputError, match=rf"^clouds: {field}: expected .*, got {amount}$"):
        Sky(msgspec.structs.replace(Clouds(), **{field: amount}), PROCESSOR)
