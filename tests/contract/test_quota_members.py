"""What every importance promises: it judges what it saw, in every group, and its state is all there is to it."""

import json

import numpy as np
import pytest
import torch

import models
from nas.core.errors import InputError
from nas.quota.channels.find import find_groups
from nas.quota.channels.subnet import Subnet
from nas.quota.worth.importance import IMPORTANCES


@pytest.fixture(scope="module")
def drawn():
    network = models.build({"model": "svhn_net", "widths": [6, 8, 8, 8], "fc_width": 10}, 0)
    groups = find_groups(network, (1, 3, 32, 32))
    subnet = Subnet(network, groups, torch.optim.SGD(network.parameters(), lr=0.0))
    keep = {group.name: np.array([1, 2, 5]) for group in groups.cut}
    small, _ = subnet.take(keep)
    torch.manual_seed(0)
    small(torch.randn(4, 3, 32, 32)).square().sum().backward()
    return groups, small, keep, subnet.places


@pytest.mark.parametrize("name", list(IMPORTANCES))
def test_it_judges_what_it_saw_and_goes_on_from_its_state(name, drawn):
    groups, small, keep, places = drawn
    importance, other = IMPORTANCES[name](groups, 0.9), IMPORTANCES[name](groups, 0.9)
    assert all(np.isnan(values).all() for values in importance.values().values())
    importance.see(small, keep, places)
    assert set(importance.values()) == {group.name for group in groups.cut}
    for group in groups.cut:
        values = importance.values()[group.name]
        assert values.shape == (group.size,)
        assert np.isfinite(values).nonzero()[0].tolist() == [1, 2, 5]
        assert (values[[1, 2, 5]] >= 0).all()
        assert values[[1, 2, 5]].any()
    other.load_state(json.loads(json.dumps(importance.state())))
    importance.see(small, keep, places)
    other.see(small, keep, places)
    for group, values in importance.values().items():
        assert np.array_equal(values, other.values()[group], equal_nan=True)
    with pytest.raises(InputError, match="quota checkpoint"):
        other.load_state({})
    with pytest.raises(InputError, match="memory"):
        IMPORTANCES[name](groups, 1.0)
