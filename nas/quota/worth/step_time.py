"""Measured training steps of some networks -> the price of networks of any widths: a step's time, by that of a known network.

    time(X) = constant + sum_g a_g X_g + sum_t b_t size_t(X)        a, b > 0, t: the parameters, those of the same groups as one

is fitted to relative errors; no term is free, for the widths of what is free would be without end. What a layer makes costs
in proportion to its channels, and its products to its weights; a table of layers would not know what else a step does. One
measurement is off by as much as this model, and a search among measurements finds those that were lucky. It also asks for a
hundred, which takes eight times as long as measuring these. Of 40 networks that it has not seen, the model is off by (mean
square; AMD EPYC, svhn_net) 11, 10, 9 and 8 % with 12, 16, 24 and 48 measured ones, a step each; with 4 steps each, which take
2.5 times as long, by 9, 8, 7 and 6 %. Those near the whole take most of the time and tell nothing of small ones; from nearly
even ones alone the uneven ones, which a search finds, seem to cost a tenth less than they do.
"""

import statistics
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from torch import nn

from nas.core.seeding import stream
from nas.core.units import ceil_div
from nas.quota.channels.groups import Groups
from nas.quota.channels.sizes import sizes_of
from nas.quota.channels.slim import first_channels

Floats = NDArray[np.float64]
Counts = Mapping[str, int]  # by group
# Of a network, what trains it a step at each call and tells the seconds.
StepOf = Callable[[nn.Module], Callable[[], float]]

_NETWORKS, _FOR_A_TERM = 30, 2.0  # beside the whole
_WHOLE_STEPS = 3  # that are averaged: all prices are shares of it
_SMALLEST, _LARGEST = 0.06, 0.6  # of all channels
_UNEVEN = 0.8  # the furthest that a group is from the others, as a logarithm: a search asks for shapes like that
_LEAST = 0.02  # of an equal share of the whole network's time, that each term takes
_KNOWN = 4  # the known network has this part of all channels


class StepTime:
    """Measures at the first question. align: widths that are measured are its multiples."""

    def __init__(self, network: nn.Module, groups: Groups, step_of: StepOf, align: int = 1) -> None:
        self._network, self._groups, self._step_of, self._align = network, groups, step_of, align
        self._sizes = {group.name: group.size for group in groups.cut}
        self._terms = _terms(network, groups)
        self._factors: Floats | None = None

    def __call__(self, counts: Counts) -> float:
        """Of a network of these counts."""
        if self._factors is None:
            self._factors = self._measured()
        return float(self._terms(counts) @ self._factors)

    def _measured(self) -> Floats:
        """The factors of the terms. Steps of the known network are taken in turn with the others: a machine whose speed
        changes from one second, or one day, to the next changes both.
        """
        known = {name: ceil_div(size, _KNOWN) for name, size in self._sizes.items()}
        known_step = self._made(known)
        known_step()

        def time_of(counts: Counts, steps: int = 1) -> float:
            step = self._made(counts)
            step()
            return statistics.mean(step() / known_step() for _ in range(steps))

        whole = time_of(self._sizes, _WHOLE_STEPS)
        rows = [self._terms(counts) / time_of(counts) for counts in self._networks()]
        rows.append(self._terms(self._sizes) / whole)
        scale = whole / self._terms(self._sizes)  # factors become shares of its time
        least = _LEAST / len(scale)
        shares: Floats = lsq_linear(np.array(rows) * scale, np.ones(len(rows)), bounds=(least, np.inf)).x
        return shares * scale

    def _made(self, counts: Counts) -> Callable[[], float]:
        return self._step_of(first_channels(self._network, self._groups, counts))

    def _networks(self) -> list[dict[str, int]]:
        """From a few channels to most of them."""
        number = max(_NETWORKS, round(_FOR_A_TERM * len(self._terms(self._sizes))))
        generator = stream(0, "networks whose steps are measured")
        found = []
        for share in np.geomspace(_SMALLEST, _LARGEST, number):
            shares = share * np.exp(_UNEVEN * generator.uniform(-1, 1, len(self._sizes)))
            wanted = zip(self._sizes.items(), shares, strict=True)
            found.append({name: min(size, self._aligned(size * float(part))) for (name, size), part in wanted})
        return found

    def _aligned(self, width: float) -> int:
        return max(1, round(width / self._align)) * self._align


def _terms(network: nn.Module, groups: Groups) -> Callable[[Counts], Floats]:
    """1, the channels of each group, and the sizes of what has channels of groups on two axes, of the same groups added up."""
    sizes, names = sizes_of(network, groups), [group.name for group in groups.cut]
    touched: dict[str, tuple[str, ...]] = {}
    for group in groups.cut:
        for part in group.parts:
            touched[part.name] = (*touched.get(part.name, ()), group.name)
    products: dict[tuple[str, ...], list[str]] = {}
    for name, _ in network.named_parameters():
        if len(touched.get(name, ())) > 1:  # others grow in proportion to the channels of one group, or not at all
            products.setdefault(touched[name], []).append(name)

    def terms(counts: Counts) -> Floats:
        now = sizes(counts)
        return np.array(
            [1.0, *(counts[name] for name in names), *(sum(now[part] for part in parts) for parts in products.values())]
        )

    return terms
