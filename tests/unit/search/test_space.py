import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.core.errors import InputError
from nas.search.trials.candidate import Candidate
from nas.search.trials.space import Space

TEMPLATE = {
    "network": {
        "model": "fake",
        "depth": {"choice": [0, 1, 2]},
        "block": {"choice": ["conv", "mobile_v2"], "when": {"depth": [1, 2]}, "otherwise": "none"},
        "inner": [{"expansion": {"choice": [2, 4, 6], "when": {"network.block": "mobile_v2"}, "otherwise": 1}}],
        "width": {"int": [8, 32], "step": 8},
        "rate": {"float": [1e-3, 1e-1], "log": True},
    },
    "hardware": {"sram": {"banks": {"choice": [8, 16]}}},
}
DISCRETE = {"network": {key: value for key, value in TEMPLATE["network"].items() if key != "rate"}}


def test_parameters_are_named_by_their_dotted_path():
    assert list(Space(TEMPLATE).parameters) == [
        "network.depth",
        "network.block",
        "network.inner.0.expansion",
        "network.width",
        "network.rate",
        "hardware.sram.banks",
    ]


def test_assemble_fills_the_template_and_replaces_what_does_not_matter():
    params = {
        "network.depth": 1,
        "network.block": "conv",
        "network.inner.0.expansion": 6,
        "network.width": 16,
        "network.rate": 0.01,
        "hardware.sram.banks": 8,
    }
    candidate = Space(TEMPLATE).assemble(params)
    expected = {"model": "fake", "depth": 1, "block": "conv", "inner": [{"expansion": 1}], "width": 16, "rate": 0.01}
    assert candidate == Candidate(expected, {"sram": {"banks": 8}})


def test_parameters_that_do_not_matter_do_not_make_two_names_for_one_candidate():
    space = Space(TEMPLATE)
    base = space.random(np.random.default_rng(0)) | {"network.depth": 0}
    keys = {
        space.assemble(base | {"network.block": block, "network.inner.0.expansion": expansion}).key
        for block in ("conv", "mobile_v2")
        for expansion in (2, 4, 6)
    }
    assert len(keys) == 1  # a stage without depth has neither a block nor, through it, an expansion


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_two_canonical_sets_of_parameters_differ_exactly_where_their_candidates_do(seed):
    space = Space(DISCRETE)
    generator = np.random.default_rng(seed)
    first, second = space.random(generator), space.random(generator)
    assert (first == second) == (space.assemble(first).key == space.assemble(second).key)
    assert space.canonical(first) == first


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_mutation_is_exactly_one_edit_and_ordered_values_move_by_one(seed):
    space = Space(TEMPLATE)
    generator = np.random.default_rng(seed)
    before = space.random(generator)
    after = space.mutate(before, generator)
    both = space.active(before) & space.active(after)
    edited = [name for name in both if before[name] != after[name]]
    assert len(edited) == 1
    assert space.assemble(before).key != space.assemble(after).key
    if edited == ["network.width"]:
        assert abs(before["network.width"] - after["network.width"]) == 8
    if edited == ["network.depth"]:
        assert abs(before["network.depth"] - after["network.depth"]) == 1


def test_mutations_reach_the_whole_space():
    space = Space(DISCRETE)
    generator = np.random.default_rng(0)
    params, seen = space.random(generator), set()
    for _ in range(1500):
        params = space.mutate(params, generator)
        seen.add(space.assemble(params).key)
    assert seen == {space.assemble(item).key for item in space.every(1000)}


def test_every_lists_each_candidate_once():
    space = Space(DISCRETE)
    keys = [space.assemble(params).key for params in space.every(1000)]
    # depth 0: one; depths 1 and 2: conv, or mobile_v2 with three expansions; each times four widths
    assert len(keys) == len(set(keys)) == (1 + 2 * (1 + 3)) * 4
    assert space.every(10) is None


def test_suggest_asks_for_every_parameter_so_that_the_space_is_static():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = Space(TEMPLATE)
    for _ in range(5):
        trial = study.ask()
        candidate = space.suggest(trial)
        assert set(trial.params) == set(space.parameters)
        assert candidate == space.assemble(trial.params)


def test_a_random_draw_covers_every_value_about_equally():
    space, generator = Space(DISCRETE), np.random.default_rng(1)
    widths = [space.random(generator)["network.width"] for _ in range(2000)]
    assert all(400 < widths.count(width) < 600 for width in (8, 16, 24, 32))


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ({"choice": []}, "empty"),
        ({"choice": [1, 1]}, "repeated"),
        ({"choice": [1], "wen": {}}, "did you mean 'when'"),
        ({"int": [8, 30], "step": 8}, "step 8 does not lead from 8 to 30"),
        ({"int": [8]}, "pair"),
        ({"float": [0, "x"]}, "pair"),
        ({"choice": [1], "when": {"blok": 1}}, "did you mean 'network.block'"),
        ({"choice": [1], "when": {"block": "aa"}}, r"x\.when: expected a value that network\.block can have, got 'aa'"),
        ({"choice": [1], "when": "block"}, r"x\.when: expected a mapping"),
        ({"choice": [1], "when": None}, r"x\.when: expected a mapping"),
    ],
)
def test_a_malformed_leaf_is_an_input_error_that_says_what_is_wrong(leaf, message):
    with pytest.raises(InputError, match=message):
        Space({"network": {"block": {"choice": ["a", "b"]}, "x": leaf}})


def test_a_space_without_a_choice_is_refused():
    """Nothing in it is new after the first candidate, so that a search of it would never end."""
    with pytest.raises(InputError, match="something to choose"):
        Space({"network": {"model": "svhn_net", "width": {"choices": [4, 8]}}})


def test_a_circle_of_conditions_is_refused():
    circle = {"a": {"choice": [1, 2], "when": {"b": 1}}, "b": {"choice": [1, 2], "when": {"a": 1}}}
    with pytest.raises(InputError, match="circle"):
        Space({"network": circle})


def test_params_that_do_not_fit_are_refused():
    space = Space({"network": {"width": {"int": [8, 32], "step": 8}}})
    with pytest.raises(InputError, match="did you mean"):
        space.assemble({"network.widht": 8})
    with pytest.raises(InputError, match="expected a value, got none"):
        space.assemble({})
    with pytest.raises(InputError, match="got 12"):
        space.assemble({"network.width": 12})


def test_the_key_ignores_the_order_of_fields_but_nothing_else():
    assert Candidate({"a": 1, "b": 2}).key == Candidate({"b": 2, "a": 1}).key
    assert Candidate({"a": 1}).key != Candidate({"a": 1}, {"clock_hz": 1e9}).key
