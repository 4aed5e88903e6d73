import math

import numpy as np
import optuna
import pytest

from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.search.sampling.samplers import make_sampler
from nas.search.sampling.surrogate import Surrogate, _bounded, choice_features
from nas.search.trials.objective import STATE_ATTRIBUTE
from nas.search.trials.pareto import hypervolume
from nas.search.trials.space import Space

SPACE = Space(
    {
        "network": {
            "block": {"choice": ["a", "b"]},
            "width": {"choice": [8, 16, 32, 64, 128, 256]},
            "depth": {"choice": [1, 2, 3, 4, 5, 6]},
            "expansion": {"choice": [2, 8], "when": {"block": "b"}},
        }
    }
)
LIMIT_S = 2e-4


def price(params):
    """Wider and deeper costs time and weights; what is over the limit has no price."""
    latency_s = params["network.width"] * params["network.depth"] * 1e-6
    weights = params["network.width"] ** 2 * params["network.depth"]
    return Cost(latency_s, 1, 1.0, 1, 1, weights, weights, 1) if latency_s <= LIMIT_S else None


def train(params):
    return 0.1 + 1 / (params["network.width"] ** 0.5 * params["network.depth"]) + 0.3 * (params["network.block"] == "a")


def study_of(candidates):
    study = optuna.create_study(directions=["minimize", "minimize"])
    for params in candidates:
        study.add_trial(
            optuna.trial.create_trial(
                values=[train(params), price(params).latency_s],
                params=params,
                distributions=SPACE.distributions,
                user_attrs={STATE_ATTRIBUTE: "evaluated"},
            )
        )
    return study


def params_of(block, width, depth):
    values = {"network.block": block, "network.width": width, "network.depth": depth, "network.expansion": 2}
    return SPACE.canonical(values)


KNOWN = [
    params_of(block, width, depth)
    for block, width, depth in [("a", 8, 1), ("b", 16, 1), ("a", 16, 5), ("b", 32, 3), ("a", 128, 1), ("a", 64, 2)]
]


def propose(study, seed, **options):
    return Surrogate(**{"start": 6, "pool": 16, **options}).propose(SPACE, study, study.ask(), seed, price)


def test_features_are_places_on_a_range_one_hot_choices_and_zero_where_nothing_matters():
    space = Space(
        {
            "network": {
                "block": {"choice": ["a", "b"]},
                "width": {"choice": [8, 16, 32]},
                "expansion": {"choice": [2, 8], "when": {"block": "b"}},
            }
        }
    )
    row = choice_features(space, {"network.block": "a", "network.width": 16, "network.expansion": 8})
    assert row == pytest.approx([0.7, 0.0, 0.5, 0.0])


def test_what_it_proposes_is_new_and_within_the_limits():
    for seed in range(20):
        proposal = propose(study_of(KNOWN), seed)
        assert proposal.origin == "surrogate"
        assert price(proposal.params) is not None
        assert proposal.params not in KNOWN


def test_twelve_proposals_add_more_than_twelve_random_candidates():
    def covered(start, seed):
        known, asked = list(KNOWN), 0
        while len(known) < 18:
            params = propose(study_of(known), 1000 * seed + asked, start=start).params
            known += [params] if price(params) else []
            asked += 1
        return hypervolume([[train(item), price(item).latency_s] for item in known], [1.0, LIMIT_S])

    found, by_chance = (sum(covered(start, seed) for seed in range(8)) / 8 for start in (6, 100))
    assert found > by_chance + 0.01


def test_who_is_worse_than_the_reference_is_known_to_be_and_no_worse_than_that_counts():
    errors = np.log([0.2, 0.25, 0.22, 0.3, 0.9])
    assert np.array_equal(_bounded(errors, (0.6, LIMIT_S))[:4], errors[:4])
    assert math.log(0.6) < _bounded(errors, (0.6, LIMIT_S))[4] < errors[4]
    assert _bounded(errors, None)[4] < math.log(0.4), "where nothing is known to be worthless"


def test_a_candidate_in_training_elsewhere_is_not_proposed_and_counts_as_if_known():
    study = study_of(KNOWN)
    first = propose(study, 3)
    other = study.ask()
    for name, distribution in SPACE.distributions.items():
        study._storage.set_trial_param(
            other._trial_id, name, distribution.to_internal_repr(first.params[name]), distribution
        )
    second = propose(study, 3)  # the same draws: without the running one it would be the same proposal
    assert second.params != first.params


def test_a_space_without_anything_new_leaves_the_choice_to_the_caller():
    every = [params for params in SPACE.every(1000) if price(params) is not None]
    assert propose(study_of(every), 0).origin == "random"


@pytest.mark.parametrize(("option", "value"), [("pool", 0), ("start", 1), ("explore", 1.5), ("caution", -1.0)])
def test_impossible_options_are_refused_by_name(option, value):
    with pytest.raises(InputError, match=f"sampler surrogate: {option}: expected"):
        make_sampler({"name": "surrogate", option: value})
