"""Ways to a network of a given price, for the comparison of pruning methods: `METHODS` by name.

All start from one trained network (but the ones from scratch), may cost the same, are trained for as many steps by the same
trainer, and see the same batches. What differs:

    quota              as the comparison's configuration says
    quota_no_draws     the same, groups' curves weigh alike: no draws are compared
    quota_handed       the same widths; channels that go hand over what they did
    quota_even         even widths; channels that go hand over what they did
    quota_gradual      handed over too, while the urn shrinks over a fifth of the steps, and all of it is trained
    quota_losses       mean widths trained, adjusted by the losses of draws while the urn shrinks; nothing is handed over
    quota_draws        the same, draws are trained
    quota_channels     the same, widths adjusted by the importance of channels over their price
    even               even widths, cut at once
    random             random widths, cut at once
    published          the widths that were published for half of the channels, scaled to the price, cut at once
    scratch            even widths, new weights
    scratch_equal_time the same, for as long as the training of the whole network and `quota` took together
    even_equal_time    `even`, for as long as `quota` took with its search
"""

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from torch import nn

from nas.core.errors import InputError, Violation
from nas.core.registry import Registry
from nas.core.seeding import stream
from nas.data.load import Data
from nas.quota.channels.groups import Groups
from nas.quota.channels.slim import first_channels, slim
from nas.quota.training.adjuster import Judges
from nas.quota.training.config import QuotaConfig
from nas.quota.training.holding import limit_of
from nas.quota.training.widths import fitted, rounded
from nas.quota.worth.importance import IMPORTANCES, judge
from nas.quota.worth.price import Lookup
from nas.search.pruning.pruning import UnderQuota
from nas.train.config import TrainConfig
from nas.train.options import Options
from nas.train.trainer import train

_PUBLISHED = (3, 17, 26, 100, 409)


class Case(NamedTuple):
    """network: trained, whole; fresh: the same with new weights; judges: see `nas.quota.training.quota_training`; whole_s: CPU seconds that the
    training of the network took; quota_s: that the method `quota` took in this case, 0 where it has not run yet.
    """

    network: nn.Module
    fresh: nn.Module
    groups: Groups
    data: Data
    trainer: TrainConfig
    quota: QuotaConfig
    judges: Judges
    whole_s: float = 0.0
    quota_s: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return (1, self.data.channels, self.data.size_px, self.data.size_px)

    @property
    def sizes(self) -> dict[str, int]:
        """Channels by group."""
        return {group.name: group.size for group in self.groups.cut}

    @property
    def lookup(self) -> Lookup:
        """The price."""
        assert self.judges.cost_of is not None
        return Lookup(self.judges.cost_of, self.sizes, self.quota.align)


# A way to a network of the price; what there would have to be, where there is none.
METHODS: Registry[Callable[[Case], nn.Module | Violation]] = Registry("pruning method")


def _by_quota(changes: Mapping[str, object]) -> Callable[[Case], nn.Module]:
    def method(case: Case) -> nn.Module:
        config = msgspec.structs.replace(case.quota, **changes)
        stepper = UnderQuota(case.groups, config, case.judges, case.trainer.seed)
        network = copy.deepcopy(case.network)
        train(network, case.data.train, case.data.nearly_none, case.trainer, options=Options(stepper=stepper))
        return slim(network, case.groups, stepper.training.keep(), case.shape)

    return method


_BY_CURVES = {"adjust": "curves", "begin": 0.0, "end": 0.0}
_HANDED = {**_BY_CURVES, "hand_over": True}
_BY_LOSSES = {"adjust": "losses", "hand_over": False, "begin": 0.0, "end": 0.5, "draw": "mean"}
METHODS.add("quota", _by_quota({}))
METHODS.add("quota_no_draws", _by_quota({**_BY_CURVES, "pairs": 0}))
METHODS.add("quota_handed", _by_quota(_HANDED))
METHODS.add("quota_even", _by_quota({**_HANDED, "adjust": "nobody"}))
METHODS.add("quota_gradual", _by_quota({**_HANDED, "draw": "none", "end": 0.2, "adjust_every": 10}))
METHODS.add("quota_losses", _by_quota(_BY_LOSSES))
METHODS.add("quota_draws", _by_quota({**_BY_LOSSES, "draw": "best"}))
METHODS.add("quota_channels", _by_quota({**_BY_LOSSES, "draw": "best", "adjust": "channels", "importance": "taylor"}))


@METHODS.register("even")
def even(case: Case) -> nn.Module:
    """Even aligned widths."""
    return trained(case, _cut(case, even_widths(case)))


@METHODS.register("random")
def random(case: Case) -> nn.Module:
    """Widths at random: each group's share of its channels is uniform on a logarithmic scale, then all are scaled."""
    generator = stream(case.trainer.seed, "random widths")
    shares = np.exp(generator.uniform(np.log(0.05), 0, len(case.sizes)))
    wanted = {name: size * float(share) for (name, size), share in zip(case.sizes.items(), shares, strict=True)}
    return trained(case, _cut(case, _priced(case, wanted)))


@METHODS.register("published")
def published(case: Case) -> nn.Module:
    """InputError for another network than the published one."""
    if len(case.sizes) != len(_PUBLISHED):
        raise InputError("comparison", "published", f"{len(_PUBLISHED)} groups of channels", len(case.sizes))
    return trained(case, _cut(case, _priced(case, dict(zip(case.sizes, map(float, _PUBLISHED), strict=True)))))


@METHODS.register("scratch")
def scratch(case: Case) -> nn.Module:
    """New weights."""
    return trained(case, first_channels(case.fresh, case.groups, even_widths(case)))


@METHODS.register("scratch_equal_time")
def scratch_equal_time(case: Case) -> nn.Module:
    """InputError where `quota` has not run before."""
    network = first_channels(case.fresh, case.groups, even_widths(case))
    return _trained_for(case, network, case.whole_s + _quota_s(case, "scratch_equal_time"))


@METHODS.register("even_equal_time")
def even_equal_time(case: Case) -> nn.Module:
    """InputError where `quota` has not run before."""
    return _trained_for(case, _cut(case, even_widths(case)), _quota_s(case, "even_equal_time"))


def _quota_s(case: Case, method: str) -> float:
    if not case.quota_s:
        raise InputError("comparison", method, "the method quota before it", "none")
    return case.quota_s


def _trained_for(case: Case, network: nn.Module, seconds: float) -> nn.Module:
    """`network` after a training of so many CPU seconds."""
    probe = dataclasses.replace(case.trainer, epochs=case.trainer.epochs / 10)
    began_s = time.process_time()
    train(copy.deepcopy(network), case.data.train, case.data.nearly_none, probe)
    epochs = probe.epochs * seconds / (time.process_time() - began_s)
    return trained(case._replace(trainer=dataclasses.replace(case.trainer, epochs=epochs)), network)


def even_widths(case: Case) -> dict[str, int]:
    """Aligned, the same share of every group."""
    return _priced(case, {name: float(size) for name, size in case.sizes.items()})


def trained(case: Case, network: nn.Module) -> nn.Module:
    """`network` after as many steps as all others."""
    train(network, case.data.train, case.data.nearly_none, case.trainer)
    return network


def _priced(case: Case, wanted: Mapping[str, float]) -> dict[str, int]:
    lookup, align = case.lookup, case.quota.align
    floor = {name: min(size, lookup.aligned(case.quota.minimum)) for name, size in case.sizes.items()}
    limit = limit_of(case.quota, lookup, floor)
    return rounded(fitted(wanted, lookup, limit, floor), lookup, limit, floor, align)


def _cut(case: Case, counts: Mapping[str, int]) -> nn.Module:
    """The most important channels, so many of each group; importance is judged on the images that are put aside."""
    loss_of = case.judges.loss_of
    assert loss_of is not None
    network, importance = copy.deepcopy(case.network).eval(), IMPORTANCES[case.quota.importance](case.groups, 0.99)
    judge(importance, network, loss_of, case.judges.batches)
    worth = importance.values()
    keep = {name: np.sort(np.argsort(-worth[name], kind="stable")[:count]) for name, count in counts.items()}
    return slim(case.network, case.groups, keep, case.shape)
