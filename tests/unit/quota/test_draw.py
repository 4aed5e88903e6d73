"""The law of the draws, against scipy's distribution and against sums over every possible draw."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from nas.core.errors import ContractError
from nas.quota.urn.conditional_poisson import moments, sample, solve
from nas.quota.urn.draw import best_channels, prepare, random_channels
from nas.quota.urn.urn import Urn, full_urn

SVHN = (96, 128, 128, 256, 512)
DRAWS = 100_000


def urn_of(balls, minimum, quota):
    return Urn(tuple(str(index) for index in range(len(balls))), tuple(balls), tuple(balls), tuple(minimum), quota)


def every_draw(balls, drawn):
    ranges = [range(count + 1) for count in balls]
    return [counts for counts in itertools.product(*ranges) if sum(counts) == drawn]


def test_the_plain_urn_has_the_law_of_scipy():
    balls, quota = (4, 6, 3), 7
    counts = prepare(urn_of(balls, (0, 0, 0), quota)).counts(np.random.default_rng(1), DRAWS)
    law = stats.multivariate_hypergeom(balls, quota)
    draws = every_draw(balls, quota)
    expected = np.array([law.pmf(draw) for draw in draws])
    seen = np.array([(counts == draw).all(axis=1).sum() for draw in draws])
    assert seen.sum() == DRAWS
    assert stats.chisquare(seen, expected / expected.sum() * DRAWS).pvalue > 1e-3


def test_the_plain_urn_of_a_network_has_the_means_and_the_covariance_of_scipy():
    counts = prepare(urn_of(SVHN, (0,) * 5, 560)).counts(np.random.default_rng(2), DRAWS)
    law = stats.multivariate_hypergeom(SVHN, 560)
    assert (counts.sum(axis=1) == 560).all()
    deviation = np.sqrt(np.diag(law.cov()))
    assert np.abs(counts.mean(axis=0) - law.mean()).max() < 5 * deviation.max() / math.sqrt(DRAWS)
    assert np.abs(np.cov(counts.T) - law.cov()).max() < 0.03 * law.cov().max()


def test_equal_odds_are_the_plain_urn():
    balls = np.array([4, 6, 3])
    design = solve(balls, 7 * balls / 13)
    assert np.ptp(design.log_odds) == pytest.approx(0, abs=1e-8)
    counts = sample(design, np.random.default_rng(3), DRAWS)
    law, draws = stats.multivariate_hypergeom(balls, 7), every_draw(balls, 7)
    expected = np.array([law.pmf(draw) for draw in draws])
    seen = np.array([(counts == draw).all(axis=1).sum() for draw in draws])
    assert stats.chisquare(seen, expected / expected.sum() * DRAWS).pvalue > 1e-3


@pytest.mark.parametrize(("balls", "means"), [((4, 6, 3), (0.7, 4.1, 2.2)), ((2, 2, 9), (1.9, 0.1, 3.0))])
def test_wanted_means_are_met_by_the_law_of_greatest_entropy(balls, means):
    design = solve(np.array(balls), np.array(means))
    draws = every_draw(balls, round(sum(means)))
    weights = np.array(
        [
            math.prod(math.comb(m, y) * math.exp(t * y) for m, y, t in zip(balls, draw, design.log_odds, strict=True))
            for draw in draws
        ]
    )
    probabilities = weights / weights.sum()
    assert probabilities @ np.array(draws) == pytest.approx(means, abs=1e-9)
    assert moments(design) == pytest.approx(means, abs=1e-9)
    counts = sample(design, np.random.default_rng(4), DRAWS)
    seen = np.array([(counts == draw).all(axis=1).sum() for draw in draws])
    common = probabilities * DRAWS > 5
    assert seen[common] == pytest.approx(probabilities[common] * DRAWS, rel=0, abs=5 * math.sqrt(DRAWS) / 2)
    assert (
        stats.chisquare(seen[common], probabilities[common] / probabilities[common].sum() * seen[common].sum()).pvalue
        > 1e-3
    )


@pytest.mark.parametrize("quota", [30, 560, 1119])
def test_minima_hold_and_the_means_stay_those_of_the_quota(quota):
    urn = full_urn("abcde", SVHN, quota, minimum=2)
    draws = prepare(urn)
    counts = draws.counts(np.random.default_rng(5), 20_000)
    assert (counts.sum(axis=1) == quota).all()
    assert counts.min() >= 2
    assert (counts <= np.array(SVHN)).all()
    assert np.array(urn.minimum) + moments(draws.design) == pytest.approx(urn.means(), abs=1e-8)
    deviation = counts.std(axis=0).max() + 0.1
    assert np.abs(counts.mean(axis=0) - urn.means()).max() < 5 * deviation / math.sqrt(20_000)


def test_without_spare_balls_the_draw_is_the_urn():
    urn = Urn(("a", "b"), (8, 8), (3, 5), (1, 1), 8)
    assert (prepare(urn).counts(np.random.default_rng(0), 50) == [3, 5]).all()


def test_means_that_no_whole_draw_has_are_refused():
    with pytest.raises(ContractError, match="cannot be those of whole draws"):
        solve(np.array([4, 4]), np.array([5.0, 1.0]))


def test_random_channels_are_equally_likely_and_survive():
    generator = np.random.default_rng(6)
    balls = [np.array([1, 4, 5, 9]), np.array([0, 2])]
    seen = np.zeros(10)
    for _ in range(4000):
        first, second = random_channels(np.array([2, 1]), balls, generator)
        assert sorted(set(first)) == first.tolist()
        assert second[0] in (0, 2)
        seen[first] += 1
    assert set(np.flatnonzero(seen)) == {1, 4, 5, 9}
    assert stats.chisquare(seen[[1, 4, 5, 9]]).pvalue > 1e-3


def test_the_best_channels_are_nested():
    worth = [np.array([0.1, 5.0, 3.0, 3.0, 9.0])]
    balls = [np.array([0, 1, 2, 3])]
    drawn = [best_channels(np.array([count]), balls, worth)[0].tolist() for count in range(5)]
    assert drawn == [[], [1], [1, 2], [1, 2, 3], [0, 1, 2, 3]]


def test_odds_are_found_for_means_next_to_their_bounds():
    extreme = solve(np.array([6, 5]), np.array([5.9183077725331685, 0.08169222746683102]))
    assert moments(extreme) == pytest.approx([5.9183077725331685, 0.08169222746683102], abs=1e-9)
    generator = np.random.default_rng(7)
    for _ in range(60):
        balls = generator.integers(1, 12, int(generator.integers(2, 6)))
        share = generator.beta(0.3, 0.3, len(balls))
        means = share * balls
        means *= np.floor(means.sum()) / means.sum()
        if means.sum() < 1 or (means > balls).any():
            continue
        assert moments(solve(balls, means)) == pytest.approx(means, abs=1e-8)


@pytest.mark.parametrize(
    ("balls", "means"),
    [
        ((1, 2, 0, 1), (0.49165583111750766, 1.978957542525523, 0.0, 0.5293866263569698)),
        ((1, 1, 1, 3), (0.5015393399352106, 0.5223504720822447, 0.9761101879825433, 3.0)),
        ((8, 7, 20, 29), (0.4, 0.1, 19.5000029, 28.9999971)),
    ],
)
def test_odds_are_found_where_full_steps_swing_about_them(balls, means):
    assert moments(solve(np.array(balls), np.array(means))) == pytest.approx(means, abs=1e-9)


def test_odds_are_found_for_more_balls_than_rounding_lets_be_exact():
    means = np.array([640.25, 127.75, 48.0])
    design = solve(np.array([1280, 320, 160]), means)
    assert moments(design) == pytest.approx(means, rel=1e-9)
