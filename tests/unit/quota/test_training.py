"""A training under the quota on a small problem: where it ends, and that a resumed one ends the same."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from nas.core.errors import InputError
from nas.quota.cut import cut
from nas.quota.groups import find_groups
from nas.quota.training import QuotaConfig, QuotaTraining

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


def run(config, start=0, stop=STEPS, begun=None, seed=0):
    whole = begun[0] if begun else network()
    optimizer = torch.optim.AdamW(whole.parameters(), lr=0.01)
    groups = find_groups(whole, (1, 1, 8, 8))
    training = QuotaTraining(whole, groups, optimizer, config, seed=seed)
    if begun:
        optimizer.load_state_dict(begun[1])
        training.load_state(begun[2])
    sizes = []
    for step in range(start, stop):
        small, own = training.begin(step)
        sizes.append([len(small[0].weight), len(small[3].weight)])
        images, labels = batch(step)
        loss = nn.functional.cross_entropy(small(images), labels)
        own.zero_grad()
        loss.backward()
        own.step()
        training.end(step, STEPS)
    return whole, optimizer, training, groups, sizes


@pytest.mark.parametrize("draw", ["random", "best"])
def test_every_step_trains_exactly_the_quota_and_the_urn_ends_as_the_quota(draw):
    config = QuotaConfig(share=0.5, minimum=2, adjust_every=5, begin=0.1, end=0.7, draw=draw)
    whole, _, training, groups, sizes = run(config)
    assert training.quota == 10
    assert {sum(pair) for pair in sizes} == {10}
    assert min(min(pair) for pair in sizes) >= 2
    assert sum(channels.sum() for channels in training.alive.values()) == 10
    final = cut(whole, groups, training.keep())
    assert [len(final[0].weight), len(final[3].weight)] == sizes[-1]
    assert final(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_without_draws_the_whole_urn_is_trained():
    config = QuotaConfig(share=0.5, minimum=2, adjust_every=5, begin=0.1, end=0.7, draw="none")
    *_, sizes = run(config)
    totals = [sum(pair) for pair in sizes]
    assert totals[0] == 20
    assert totals[-1] == 10
    assert totals == sorted(totals, reverse=True)


def test_a_resumed_training_ends_the_same():
    straight = run(CONFIG)
    first = run(CONFIG, stop=23)
    carried = (first[0], copy.deepcopy(first[1].state_dict()), json.loads(json.dumps(first[2].state())))
    second = run(CONFIG, start=23, begun=carried)
    assert first[4] + second[4] == straight[4]
    for (name, one), other in zip(straight[0].state_dict().items(), second[0].state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    for name, channels in straight[2].keep().items():
        assert (channels == second[2].keep()[name]).all()


def test_another_seed_draws_otherwise():
    assert run(CONFIG, stop=10)[4] != run(CONFIG, stop=10, seed=1)[4]


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(InputError, match=r"quota: share: expected 0 < share <= 1, got 1.5"):
        QuotaConfig(share=1.5)
    with pytest.raises(InputError, match=r"begin, end"):
        QuotaConfig(begin=0.9, end=0.5)
    alone = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    groups = find_groups(alone, (1, 1, 2, 2))
    with pytest.raises(InputError, match=r"channels that can be cut, got none .*output of the network"):
        QuotaTraining(alone, groups, torch.optim.SGD(alone.parameters(), lr=0.1), CONFIG)


def test_the_price_of_a_group_decides_what_goes():
    whole = network()
    groups = find_groups(whole, (1, 1, 8, 8))
    names = [group.name for group in groups.cut]
    widths = []
    for dear in names:
        training = QuotaTraining(network(), groups, torch.optim.SGD(whole.parameters(), lr=0.1), CONFIG, {dear: 1e9})
        training.importance.load_state(
            {group.name: {"sums": [1.0] * group.size, "weights": [1.0] * group.size} for group in groups.cut}
        )
        training._adjust(1.0)
        widths.append([len(training.keep()[name]) for name in names])
    assert widths == [[2, 8], [8, 2]]
    assert np.sum(widths) == 20
