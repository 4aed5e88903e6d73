import numpy as np
import pytest

from nas.core.errors import InputError
from nas.quota.urn.urn import Urn, full_urn


def test_means_are_proportional_to_the_balls_and_sum_to_the_quota():
    urn = Urn(("a", "b", "c"), (10, 20, 40), (10, 5, 25), (0, 0, 0), 20)
    assert urn.means() == pytest.approx([20 * 10 / 40, 20 * 5 / 40, 20 * 25 / 40])


def test_a_minimum_is_kept_and_the_others_give_in_proportion():
    urn = Urn(("a", "b", "c"), (4, 40, 80), (4, 40, 80), (3, 1, 1), 15)
    means = urn.means()
    assert means[0] == 3
    assert means[1:] == pytest.approx([4, 8])


def test_balls_move_within_their_groups():
    urn = full_urn("ab", (4, 8), quota=6).moved((-2, 0))
    assert urn.balls == (2, 8)
    assert urn.channels == (4, 8)
    with pytest.raises(InputError, match=r"b: expected 1 .* to 8 .* balls, got 9"):
        urn.moved((0, 1))


@pytest.mark.parametrize("quota", [1, 13])
def test_a_quota_that_cannot_be_drawn_is_refused(quota):
    with pytest.raises(InputError, match=rf"quota: expected 2 .* to 12 .*, got {quota}"):
        full_urn("ab", (4, 8), quota)


def test_random_urns_sum_to_the_quota_within_their_bounds():
    generator = np.random.default_rng(0)
    for _ in range(200):
        channels = generator.integers(1, 60, size=6)
        balls = generator.integers(1, channels + 1)
        minimum = generator.integers(0, balls + 1)
        quota = int(generator.integers(minimum.sum(), balls.sum() + 1))
        urn = Urn(tuple("abcdef"), tuple(channels.tolist()), tuple(balls.tolist()), tuple(minimum.tolist()), quota)
        means = urn.means()
        assert means.sum() == pytest.approx(quota)
        assert (means >= minimum - 1e-9).all()
        assert (means <= balls + 1e-9).all()
