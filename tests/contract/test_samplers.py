"""What every sampler promises."""

import numpy as np
import optuna
import pytest

from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.search.sampling.samplers import SAMPLERS, make_sampler
from nas.search.sampling.unseen import UnseenSampler
from nas.search.trials.objective import STATE_ATTRIBUTE
from nas.search.trials.pareto import hypervolume
from nas.search.trials.space import Space

NUMBERS = {"choice": [0, 1, 2, 3, 4, 5, 6, 7]}
TEMPLATE = {
    "network": {
        "kind": {"choice": ["a", "b", "c"]},
        "x": NUMBERS,
        "y": NUMBERS,
        "extra": {"choice": [1, 2, 3], "when": {"kind": "c"}, "otherwise": 0},
        "rate": {"float": [0.1, 10.0], "log": True},
    }
}
SMALL = {"network": {"x": {"choice": [0, 1, 2]}, "y": {"choice": ["p", "q"]}}}

pytestmark = pytest.mark.parametrize("name", list(SAMPLERS))


def _measure(network):
    """Good is: x small for the first objective, x large for the second, y, kind and rate in the middle for both."""
    waste = abs(network["y"] - 4) + 2 * (network["kind"] != "b") + abs(np.log(network["rate"]))
    return [0.1 + network["x"] + waste, 0.1 + 7 - network["x"] + waste]


def _run(name, trials, seed, template=TEMPLATE, measure=_measure, infeasible=lambda network: False):
    space, seen, points = Space(template), set(), []

    def price(params):
        network = space.assemble(params).network
        return None if infeasible(network) else Cost(measure(network)[1], 1, 1.0, 1, 1, 1, 1, 1)

    sampler = UnseenSampler(space, make_sampler({"name": name}), price, seed, lambda: seen)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        candidate = space.suggest(trial)
        if sampler.exhausted:
            break
        assert candidate.key not in seen
        assert trial.params == space.canonical(trial.params)
        seen.add(candidate.key)
        bad = infeasible(candidate.network)
        trial.set_user_attr(STATE_ATTRIBUTE, "rejected" if bad else "evaluated")
        trial.set_constraint("limit", 1.0 if bad else -1.0)
        values = [1.0, 1.0] if bad else measure(candidate.network)
        study.tell(trial, values)
        points.append((candidate.key, bad, values))
    return points


def test_the_same_seed_proposes_the_same_and_another_seed_does_not(name):
    assert _run(name, 16, 3) == _run(name, 16, 3)
    assert _run(name, 16, 3) != _run(name, 16, 4)


def test_no_candidate_is_proposed_twice_and_a_small_space_is_exhausted(name):
    points = _run(name, 20, 0, SMALL, lambda network: [network["x"], 2 - network["x"]])
    assert len(points) == 6


def test_rejected_candidates_do_not_stop_it(name):
    points = _run(name, 30, 0, infeasible=lambda network: network["kind"] == "a" or network["x"] > 5)
    assert len(points) == 30
    assert any(not bad for _, bad, _ in points)


def test_it_beats_random_or_equals_it(name):
    reference = (15.0, 15.0)
    found, by_chance = (
        np.mean([hypervolume([values for *_, values in _run(each, 32, seed)], reference) for seed in range(4)])
        for each in (name, "random")
    )
    assert found >= by_chance


def test_an_unknown_option_is_refused_by_name(name):
    with pytest.raises(InputError, match="optoin"):
        make_sampler({"name": name, "optoin": 1})
