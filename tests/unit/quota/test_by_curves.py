"""Widths by curves are tried out beside even ones before they are trained."""

import numpy as np
import pytest
import torch

from nas.quota.channels.find import find_groups
from nas.quota.training.adjuster import Judges
from nas.quota.training.config import QuotaConfig
from nas.quota.training.quota_training import QuotaTraining
from tests.unit.quota.test_training import STEPS, loss_of, network


@pytest.mark.parametrize(
    ("floor", "errors", "taken"),
    [
        (0.1, {"even": 30, "curves": 10}, "curves"),
        (0.1, {"even": 10, "curves": 12}, "curves"),
        (0.1, {"even": 10, "curves": 30}, "even"),
        (0.6, {"even": 30, "curves": 11, "bold": 10}, "bold"),
        (0.6, {"even": 30, "curves": 10, "bold": 11}, "curves"),
        (0.6, {"even": 10, "curves": 40, "bold": 30}, "even"),
    ],
)
def test_the_widths_that_err_least_when_tried_out_are_taken_and_even_ones_only_if_by_more_than_chance(
    floor, errors, taken
):
    tried = []

    def tried_out(keep, share):
        tried.append(({name: len(channels) for name, channels in keep.items()}, share))
        wrong = np.arange(100) < list(errors.values())[len(tried) - 1]
        return wrong if len(tried) == 1 else wrong[::-1]

    whole = network()
    whole[3].weight.data[4:] *= 1e-3  # most of the second layer is of little use, so that its curve says so
    groups = find_groups(whole, (1, 1, 8, 8))
    config = QuotaConfig(share=0.5, adjust="curves", end=0.0, try_out=0.1, floor=floor)
    optimizer = torch.optim.AdamW(whole.parameters())
    training = QuotaTraining(whole, groups, optimizer, config, Judges(None, loss_of, 2, tried_out))
    training.begin(0, STEPS)
    widths = dict(zip(errors, [found for found, _ in tried], strict=True))
    assert {share for _, share in tried} == {0.1}
    assert widths["even"] == {"0": 4, "3": 6} != widths["curves"]
    if "bold" in errors:
        assert widths["bold"]["3"] < widths["curves"]["3"] < 6
    assert training.holding.widths == widths[taken]
    assert training.history[0].tried == {name: wrong / 100 for name, wrong in errors.items()}


@pytest.mark.parametrize("changes", [{"try_out": 0.0}, {"hand_over": True}, {"adjust": "nobody", "hand_over": True}])
def test_nothing_is_tried_out_where_that_is_off_or_would_not_tell(changes):
    def tried_out(keep, share):
        raise AssertionError

    whole = network()
    groups = find_groups(whole, (1, 1, 8, 8))
    config = QuotaConfig(**{"share": 0.5, "adjust": "curves", "end": 0.0, "try_out": 0.1} | changes)
    training = QuotaTraining(
        whole, groups, torch.optim.AdamW(whole.parameters()), config, Judges(None, loss_of, 2, tried_out)
    )
    training.begin(0, STEPS)
    assert training.history[0].tried == {}
