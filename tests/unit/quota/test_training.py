"""A training under the quota on small problems: where it ends, that a resumed one ends the same, and what is planted."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from nas.core.errors import InputError
from nas.quota.channels.cut import cut
from nas.quota.channels.find import find_groups
from nas.quota.training.adjuster import Judges
from nas.quota.training.config import QuotaConfig
from nas.quota.training.holding import Holding
from nas.quota.training.quota_training import QuotaTraining

STEPS = 60
CONFIG = QuotaConfig(share=0.5, minimum=2, adjust_every=5, begin=0.1, end=0.7)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 3),
    )


def batch(step):
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(16, 1, 8, 8, generator=generator)
    return images, (images.mean(dim=(1, 2, 3)) > 0).long()


def loss_of(network, number):
    images, labels = batch(1000 + number)
    return nn.functional.cross_entropy(network(images), labels)


def run(config, start=0, stop=STEPS, begun=None, seed=0):
    whole = begun[0] if begun else network()
    optimizer = torch.optim.AdamW(whole.parameters(), lr=0.01)
    groups = find_groups(whole, (1, 1, 8, 8))
    training = QuotaTraining(whole, groups, optimizer, config, Judges(None, loss_of, 2), seed=seed)
    if begun:
        optimizer.load_state_dict(begun[1])
        training.load_state(begun[2])
    sizes = []
    for step in range(start, stop):
        small, own = training.begin(step, STEPS)
        sizes.append([len(small[0].weight), len(small[3].weight)])
        images, labels = batch(step)
        loss = nn.functional.cross_entropy(small(images), labels)
        own.zero_grad()
        loss.backward()
        own.step()
        training.end(step, STEPS)
    training.settle()
    return whole, optimizer, training, groups, sizes


@pytest.mark.parametrize("adjust", ["losses", "channels", "nobody"])
@pytest.mark.parametrize("draw", ["random", "best", "mean"])
def test_every_step_trains_exactly_the_quota_and_the_urn_ends_as_the_quota(draw, adjust):
    config = QuotaConfig(share=0.5, minimum=2, adjust_every=5, begin=0.1, end=0.7, draw=draw, adjust=adjust)
    whole, _, training, groups, sizes = run(config)
    assert {sum(pair) for pair in sizes} == {10}
    assert min(min(pair) for pair in sizes) >= 2
    final = cut(whole, groups, training.keep())
    assert [len(final[0].weight), len(final[3].weight)] == sizes[-1]
    assert len({tuple(pair) for pair in sizes[-10:]}) == 1
    assert final(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    assert [look.step for look in training.history] == list(range(5, 46, 5))
    if adjust == "nobody":
        assert sizes[-1] == [4, 6]


def test_the_channels_in_the_urn_are_what_counts():
    whole, _, training, groups, _ = run(CONFIG)
    images, _ = batch(0)
    expected, found = cut(whole, groups, training.keep()).eval()(images), training.evaluated(whole.eval())(images)
    assert torch.equal(found, expected)
    assert not torch.equal(found, whole(images))


def test_without_draws_the_whole_urn_is_trained():
    *_, sizes = run(QuotaConfig(share=0.5, adjust_every=5, begin=0.1, end=0.7, draw="none"))
    totals = [sum(pair) for pair in sizes]
    assert totals[0] == 20
    assert totals[-1] == 10
    assert totals == sorted(totals, reverse=True)


def test_the_mean_widths_change_at_adjustments_only():
    *_, sizes = run(QuotaConfig(share=0.5, adjust_every=10, begin=0.0, end=0.9, draw="mean"))
    assert all(sizes[step] == sizes[step - step % 10] for step in range(STEPS))
    assert sizes[0] == [4, 6]


def test_draws_last_as_long_as_they_are_held():
    *_, sizes = run(QuotaConfig(share=0.5, adjust_every=20, begin=0.0, end=1.0, hold=4, adjust="nobody"))
    assert all(sizes[step] == sizes[step - step % 4] for step in range(20))
    assert len({tuple(pair) for pair in sizes[:20]}) > 1


def test_a_speed_quota_is_met_whatever_the_widths():
    config = QuotaConfig(share=0.3, align=2, adjust_every=5, end=0.7)
    whole = network()
    groups = find_groups(whole, (1, 1, 8, 8))

    def cost_of(counts):
        first, second = counts.values()
        return float(first * 9 + first * second * 9 + second * 48)

    optimizer = torch.optim.SGD(whole.parameters(), lr=0.01)
    training = QuotaTraining(whole, groups, optimizer, config, Judges(cost_of, loss_of, 1))
    for step in range(STEPS):
        small, own = training.begin(step, STEPS)
        loss_of(small, step).backward()
        own.step()
        own.zero_grad()
        training.end(step, STEPS)
    final = {name: len(channels) for name, channels in training.keep().items()}
    assert cost_of(final) <= 0.3 * cost_of({"0": 8, "3": 12}) + 1e-9
    assert all(count % 2 == 0 for count in final.values())


@pytest.mark.parametrize("adjust", ["losses", "channels"])
def test_a_resumed_training_ends_the_same(adjust):
    config = QuotaConfig(share=0.5, minimum=2, adjust_every=5, begin=0.1, end=0.7, adjust=adjust)
    straight = run(config)
    first = run(config, stop=23)
    carried = (first[0], copy.deepcopy(first[1].state_dict()), json.loads(json.dumps(first[2].state())))
    second = run(config, start=23, begun=carried)
    assert first[4] + second[4] == straight[4]
    for (name, one), other in zip(straight[0].state_dict().items(), second[0].state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert straight[2].history == second[2].history
    assert straight[2].identity() == second[2].identity()


HAND_OVER = QuotaConfig(share=0.5, adjust="curves", hand_over=True, draw="none", end=0.0, adjust_every=5)


def test_an_urn_that_shrinks_at_once_trains_the_final_network_alone_and_keeps_what_it_can_of_the_function():
    *_, training, groups, sizes = run(HAND_OVER)
    assert len({tuple(pair) for pair in sizes}) == 1
    assert sum(sizes[0]) == 10
    assert [look.step for look in training.history] == [0]
    assert [len(channels) for channels in training.keep().values()] == sizes[0]
    trained = run(QuotaConfig(share=0.99, adjust="nobody"))[0]
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.0)
    again = QuotaTraining(trained, groups, optimizer, HAND_OVER, Judges(None, loss_of, 2))
    before = copy.deepcopy(trained)
    again.begin(0, 1)
    with torch.no_grad():
        losses = [loss_of(cut(each, groups, again.keep()).train(), 0).item() for each in (trained, before)]
    assert losses[0] < losses[1]


def test_curves_without_handing_over_choose_the_widths_and_leave_weights_and_order_alone():
    config = QuotaConfig(share=0.5, adjust="curves", end=0.0, draw="mean")
    whole = network()
    whole[0].weight.data[[1, 5]] *= 50  # so they are the most important by magnitude
    groups, optimizer = find_groups(whole, (1, 1, 8, 8)), torch.optim.SGD(whole.parameters(), lr=0.0)
    before = copy.deepcopy(whole.state_dict())
    training = QuotaTraining(whole, groups, optimizer, config, Judges(None, loss_of, 2))
    training.begin(0, 1)
    for name, one in whole.state_dict().items():
        assert torch.equal(one, before[name]), name
    other = copy.deepcopy(whole)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.0)
    handed = QuotaTraining(other, groups, optimizer, HAND_OVER, Judges(None, loss_of, 2))
    handed.begin(0, 1)
    assert [len(each) for each in training.keep().values()] == [len(each) for each in handed.keep().values()]
    assert {1, 5} <= set(training.keep()["0"].tolist())


def test_an_urn_that_shrinks_slowly_and_hands_over_only_loses_channels():
    config = QuotaConfig(share=0.5, adjust="curves", hand_over=True, draw="none", end=0.7, adjust_every=5)
    *_, training, _, sizes = run(config)
    balls = [tuple(look.balls.values()) for look in training.history]
    assert all(
        one >= other for before, after in itertools.pairwise(balls) for one, other in zip(before, after, strict=True)
    )
    assert len(balls) > 5
    assert sizes[0] == [8, 12]
    assert sum(sizes[-1]) == 10


@pytest.mark.parametrize("end", [0.0, 0.7])
def test_a_resumed_training_that_hands_over_ends_the_same(end):
    config = QuotaConfig(share=0.5, adjust="curves", hand_over=True, draw="none", end=end, adjust_every=5)
    straight, first = run(config), run(config, stop=23)
    carried = (first[0], copy.deepcopy(first[1].state_dict()), json.loads(json.dumps(first[2].state())))
    second = run(config, start=23, begun=carried)
    for (name, one), other in zip(straight[0].state_dict().items(), second[0].state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert straight[2].history == second[2].history


def test_prices_that_were_measured_are_kept_over_a_resume():
    generator = np.random.default_rng(0)

    def noisy(counts):
        return sum(counts.values()) * generator.uniform(0.9, 1.1)

    config, whole = QuotaConfig(share=0.5, adjust="nobody"), network()
    groups, optimizer = find_groups(whole, (1, 1, 8, 8)), torch.optim.SGD(whole.parameters(), lr=0.1)
    first, second = (QuotaTraining(whole, groups, optimizer, config, Judges(noisy)) for _ in range(2))
    assert first.holding.limit != second.holding.limit
    second.load_state(json.loads(json.dumps(first.state())))
    assert first.holding.limit == second.holding.limit
    assert json.dumps(first.state()) == json.dumps(second.state())


def test_another_seed_draws_otherwise():
    assert run(CONFIG, stop=10)[4] != run(CONFIG, stop=10, seed=1)[4]


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(InputError, match=r"quota: share: expected 0 < share <= 1, got 1.5"):
        QuotaConfig(share=1.5)
    with pytest.raises(InputError, match=r"begin, end"):
        QuotaConfig(begin=0.9, end=0.5)
    with pytest.raises(InputError, match=r"draw: expected none where channels hand over"):
        QuotaConfig(adjust="curves", hand_over=True, end=0.5)
    with pytest.raises(InputError, match=r"draw: expected none where .* curves adjust"):
        QuotaConfig(adjust="curves")
    with pytest.raises(InputError, match=r"adjust: expected curves or nobody"):
        QuotaConfig(adjust="losses", hand_over=True, end=0.0)
    alone = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    groups = find_groups(alone, (1, 1, 2, 2))
    with pytest.raises(InputError, match=r"channels that can be cut, got none .*output of the network"):
        QuotaTraining(alone, groups, optimizer, CONFIG, Judges())
    whole = network()
    groups = find_groups(whole, (1, 1, 8, 8))
    with pytest.raises(InputError, match="pictures to compare losses on, got none"):
        QuotaTraining(whole, groups, optimizer, CONFIG, Judges())
    config = QuotaConfig(adjust="nobody", start={"nothing": 3})
    with pytest.raises(InputError, match=r"start.nothing"):
        QuotaTraining(whole, groups, optimizer, config, Judges())


class Branches(nn.Module):
    """Branches beside each other that share nothing, so that what each needs is known: its own number of directions."""

    def __init__(self, widths, seed, size=24):
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(size, width, bias=False) for width in widths)
        self.outer = nn.ModuleList(nn.Linear(width, size, bias=False) for width in widths)
        self.size = size
        generator = torch.Generator().manual_seed(seed)
        for layer in [*self.inner, *self.outer]:
            nn.init.orthogonal_(layer.weight, generator=generator)

    def forward(self, x):
        parts = zip(self.inner, self.outer, x.split(self.size, 1), strict=True)
        return torch.cat([outer(inner(part).relu()) for inner, outer, part in parts], 1)


def problem(planted):
    """A student of 24 channels a branch, its groups, what gives examples of the teacher, and the error on them."""
    teacher, student = Branches(planted, 100), Branches((24, 24, 24), 0)
    generator = torch.Generator().manual_seed(0)

    def some(count=128):
        x = torch.randn(count, 72, generator=generator)
        with torch.no_grad():
            return x, teacher(x)

    def error(network, x, y):
        return (network(x) - y).square().mean()

    return student, find_groups(student, (1, 72)), some, error


@pytest.mark.parametrize(
    ("planted", "hand_over"), [((20, 4, 8), False), ((15, 13, 2), False), ((6, 6, 18), True)], ids=str
)
def test_curves_of_a_trained_network_are_the_planted_widths(planted, hand_over):
    student, groups, some, error = problem(planted)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    for _ in range(250):
        optimizer.zero_grad()
        error(student, *some()).backward()
        optimizer.step()
    aside = [some(256) for _ in range(2)]
    config = QuotaConfig(share=sum(planted) / 72, minimum=1, end=0.0, adjust="curves", hand_over=hand_over)
    judges = Judges(None, lambda network, number: error(network, *aside[number]), 2)
    training = QuotaTraining(student, groups, optimizer, config, judges)
    training.begin(0, 1)
    assert [len(channels) for channels in training.keep().values()] == pytest.approx(planted, rel=0.1)


def test_curves_wait_for_a_network_that_is_trained_first():
    planted, steps = (5, 15, 9), 400
    student, groups, some, error = problem(planted)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    aside = [some(256) for _ in range(2)]
    config = QuotaConfig(
        share=sum(planted) / 72, minimum=1, begin=0.6, end=0.6, adjust="curves", draw="none", adjust_every=40
    )
    judges = Judges(None, lambda network, number: error(network, *aside[number]), 2)
    training = QuotaTraining(student, groups, optimizer, config, judges)
    for step in range(steps):
        small, own = training.begin(step, steps)
        own.zero_grad()
        error(small, *some()).backward()
        own.step()
        training.end(step, steps)
    assert [len(channels) for channels in training.keep().values()] == pytest.approx(planted, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("start", [None, (8, 8, 22), (22, 8, 8)])
def test_planted_widths_are_found_from_any_start(start):
    planted, steps = (10, 20, 12), 1000
    student, groups, some, error = problem(planted)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)

    def train(network, own, step):
        for group in own.param_groups:
            group["lr"] = 0.01 * (1 - 0.9 * step / steps)
        own.zero_grad()
        error(network, *some()).backward()
        own.step()

    for _ in range(250):
        train(student, optimizer, 0)
    aside = [some(256) for _ in range(2)]
    balls = None if start is None else dict(zip([group.name for group in groups.cut], start, strict=True))
    config = QuotaConfig(share=sum(planted) / 72, minimum=1, end=0.8, adjust_every=10, start=balls)
    judges = Judges(None, lambda network, number: error(network, *aside[number]), 2)
    training = QuotaTraining(student, groups, optimizer, config, judges)
    for step in range(steps):
        small, own = training.begin(step, steps)
        train(small, own, step)
        training.end(step, steps)
    found = np.array([len(channels) for channels in training.keep().values()])
    assert found == pytest.approx(planted, rel=0.1)


def test_no_floor_is_below_its_share_of_the_even_width():
    holding = Holding({"a": 96, "b": 128, "c": 40}, QuotaConfig(share=0.3, floor=0.5, align=8, minimum=8), None)
    for name, size in holding.sizes.items():
        assert 0.5 * 0.3 * size - 1 <= holding.floor[name] <= 0.3 * size
    assert holding.floor == {"a": 16, "b": 24, "c": 8}
