"""The latency limit that nobody has chosen: what suits the processor, and what a reference has to do with it."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import models
from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.search.running.limit import FoundLimit, found_limit, with_latency
from nas.search.running.plan import write_plan
from nas.search.running.standard import standard_plan
from nas.search.trials.space import Space

CONF = Path(__file__).parents[3] / "conf"
SPACE = Space({"network": {"width": {"int": [1, 100]}}})


def planned(*overrides):
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("search", ["folder=nowhere", *overrides])
    return standard_plan(config, "factory", models.build)


def cost_of(params):
    return Cost(params["network.width"] * 1e-6, 1, 0.0, 0, 0, 0, 0, 0)


def test_nine_of_ten_networks_keep_to_the_limit_that_is_found():
    found = found_limit(SPACE, cost_of, seed=0)
    assert found == found_limit(SPACE, cost_of, seed=0)
    assert 70e-6 < found.latency_s < 100e-6
    assert "90% of 24 random networks" in found.words


def test_a_processor_that_runs_no_network_is_told():
    with pytest.raises(InputError, match="hardware: expected a processor that runs at least one"):
        found_limit(SPACE, lambda params: None, seed=0)


@pytest.mark.parametrize(
    ("limit", "reference", "expected"),
    [
        ("auto", "auto", (3e-4, 3e-4)),
        (1e-3, "auto", (1e-3, 1e-3)),
        (None, "auto", (None, 3e-4)),
        ("auto", 5e-5, (3e-4, 5e-5)),
        (1, 2, (1, 2)),
    ],
)
def test_the_reference_follows_the_limit_unless_it_is_given(limit, reference, expected):
    chosen = {"limits": {"latency_s": limit}, "reference": {"latency_s": reference}}
    made = with_latency(chosen, lambda: FoundLimit(3e-4, "so"))
    assert (made["limits"]["latency_s"], made["reference"]["latency_s"]) == expected
    assert made["limit_found"] == ("so" if limit == "auto" else "")


@pytest.mark.parametrize(("where", "value"), [("limits", "fast"), ("limits", 0), ("reference", None), ("limits", True)])
def test_what_is_no_latency_is_refused(where, value):
    chosen = {"limits": {"latency_s": 1.0}, "reference": {"latency_s": 1.0}} | {where: {"latency_s": value}}
    with pytest.raises(InputError, match="latency_s: expected seconds above 0 such as 5e-5"):
        with_latency(chosen, lambda: FoundLimit(1.0))


def test_the_limit_of_published_figures_stays():
    plan = planned()
    assert (plan.limits.latency_s, plan.reference.latency_s, plan.limit_found) == (5e-5, 5e-5, "")


def test_a_slower_processor_has_a_limit_that_its_networks_can_keep_to(tmp_path):
    plan = planned("hardware=micro_npu", f"folder={tmp_path}")
    assert plan.limits.latency_s == plan.reference.latency_s > 2e-4
    assert "random networks keep to" in plan.limit_found
    write_plan(tmp_path, plan)
    again = planned("hardware=micro_npu", f"folder={tmp_path}", "trials=40")
    assert again.limits == plan.limits


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        ("{srm:{size_bytes:{choice:[65536,131072]}}}", "srm: expected a known key, .*did you mean 'sram'"),
        ("{matrix:{rows:{float:[8,32]}}}", "matrix.rows: expected `int`"),
        ("{sram:{size_bytes:{int:[-9,-5]}}}", "sram.size_bytes: expected an amount"),
        ("{matrix:{choice:[1,2]}}", "matrix: expected `object`"),
        ("5", "hardware: expected a mapping of fields to values or choices, got 5"),
        ("{choice:[1,2]}", "hardware: expected a mapping of fields"),
    ],
)
def test_a_space_without_hardware_that_could_exist_is_refused_before_anything_is_trained(hardware, message):
    with pytest.raises(InputError, match=message):
        planned(f"+space.hardware={hardware}")


def test_a_space_with_some_hardware_that_can_exist_is_searched():
    plan = planned("+space.hardware={sram:{size_bytes:{choice:[-5,65536]}}}")
    assert plan.space["hardware"]["sram"]["size_bytes"]["choice"] == [-5, 65536]
