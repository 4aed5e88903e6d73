"""Channels by group -> what a network of so many costs: the quota's currency.

    one          channels: the quota is a number of channels
    parameters   numbers that are stored
    cycles       of one inference on a processor, as its simulator says: a speed quota
    time         of one training step on this machine, fitted to those of some networks

A price is a function of the counts of all groups together, for a layer's cost is a product of what it reads and what it
makes. It is asked through a `Lookup`, which asks once for each combination and only for aligned ones: engines work in
blocks, and between two multiples of a block's width a channel is as good as free.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from torch import nn

from nas.core.errors import InputError
from nas.core.registry import Registry
from nas.core.units import ceil_div
from nas.quota.channels.groups import Groups
from nas.quota.channels.sizes import sizes_of
from nas.quota.channels.slim import first_channels
from nas.quota.worth.step_time import StepOf, StepTime

Counts = Mapping[str, int]  # by group
CostOf = Callable[[Counts], float]


class Subject(NamedTuple):
    """What is priced. cycles_of: the cycles of an inference of a network; its weights may be on the meta device.

    step_of: makes of a network what trains it a step at each call, and tells the seconds. align: widths that are asked for are
    its multiples.
    """

    network: nn.Module
    groups: Groups
    cycles_of: Callable[[nn.Module], float] | None = None
    step_of: StepOf | None = None
    align: int = 1


PRICES: Registry[Callable[[Subject], CostOf]] = Registry("price")


@PRICES.register("one")
def channels(subject: Subject) -> CostOf:
    """Their number."""
    del subject
    return lambda counts: float(sum(counts.values()))


@PRICES.register("parameters")
def parameters(subject: Subject) -> CostOf:
    """How many numbers the parameters are, exactly."""
    sizes = sizes_of(subject.network, subject.groups)
    return lambda counts: float(sum(sizes(counts).values()))


@PRICES.register("cycles")
def cycles(subject: Subject) -> CostOf:
    """What `subject.cycles_of` says of a network of these counts."""
    ask = subject.cycles_of
    if ask is None:
        raise InputError("quota", "price", "a processor whose cycles are counted", "none", "choose another price")
    meta = _on_meta(subject.network)
    return lambda counts: ask(first_channels(meta, subject.groups, counts))


@PRICES.register("time")
def time(subject: Subject) -> CostOf:
    """A training step's time, as a multiple of that of one small network: what `StepTime` makes of some that it measures."""
    if subject.step_of is None:
        raise InputError("quota", "price", "a trainer whose steps are timed", "none", "choose another price")
    return StepTime(subject.network, subject.groups, subject.step_of, subject.align)


class Lookup:
    """A price as a table that fills itself. align: counts are asked for in its multiples, rounded up; sizes: n_g."""

    def __init__(self, cost_of: CostOf, sizes: Counts, align: int = 1) -> None:
        self._cost_of, self._align, self.sizes = cost_of, align, dict(sizes)
        self._known: dict[tuple[int, ...], float] = {}

    def __call__(self, counts: Counts) -> float:
        """Of `counts`; groups that are not named are whole."""
        asked = {name: min(size, self.aligned(counts.get(name, size))) for name, size in self.sizes.items()}
        key = tuple(asked.values())
        if key not in self._known:
            self._known[key] = float(self._cost_of(asked))
        return self._known[key]

    @property
    def whole(self) -> float:
        """Of the whole network."""
        return self(self.sizes)

    def marginal(self, counts: Counts) -> dict[str, float]:
        """By group: what one more channel costs around `counts`, over a block less and a block more.

        At least a millionth of an even share, for what is free could not be weighed.
        """
        prices = {}
        for name, size in self.sizes.items():
            low = max(1, counts[name] - self._align)
            high = min(size, counts[name] + self._align)
            rise = self({**counts, name: high}) - self({**counts, name: low})
            least = 1e-6 * self.whole / sum(self.sizes.values())
            prices[name] = max(least, rise / max(1, high - low))
        return prices

    def known(self) -> list[tuple[tuple[int, ...], float]]:
        """The table: counts in the order of the groups, and their price."""
        return list(self._known.items())

    def load(self, known: Iterable[tuple[Iterable[int], float]]) -> None:
        """Take over what `known` gave: measured prices are never the same twice."""
        self._known = {tuple(counts): price for counts, price in known}

    def aligned(self, count: int, up: bool = True) -> int:
        """The next multiple of a block, or the last one."""
        return (ceil_div(count, self._align) if up else count // self._align) * self._align


def _on_meta(network: nn.Module) -> nn.Module:
    """A copy without numbers."""
    return copy.deepcopy(network).to("meta")
