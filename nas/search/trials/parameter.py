"""One searchable leaf of a space: `{choice: [...]}`, `{int: [low, high]}` or `{float: [low, high]}` -> a typed parameter.

Optional keys: `step` and `log` (int, float), `when` (the values that other parameters must have for this one to matter)
and `otherwise` (what stands in the candidate when it does not matter; by default the first value).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nas.core.errors import InputError, suggestion

KINDS = ("choice", "int", "float")
_OPTIONS = {"choice": {"when", "otherwise"}} | {kind: {"step", "log", "when", "otherwise"} for kind in ("int", "float")}

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Parameter:
    """name: the dotted path in the template; when: (absolute name, allowed values) that must all hold."""

    name: str
    distribution: BaseDistribution
    when: tuple[tuple[str, tuple[Scalar, ...]], ...]
    otherwise: Scalar

    @property
    def default(self) -> Scalar:
        """The value that stands for "does not matter", so that one candidate has one set of parameters."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices[0]
        return self.distribution.low  # type: ignore[attr-defined, no-any-return]

    def values(self) -> list[Scalar] | None:
        """Every value in order, or None where there are infinitely many."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return list(distribution.choices)
        if isinstance(distribution, IntDistribution):
            return list(range(distribution.low, distribution.high + 1, distribution.step))
        assert isinstance(distribution, FloatDistribution)
        if distribution.step is None:
            return [distribution.low] if distribution.single() else None
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        return [distribution.low + index * distribution.step for index in range(count)]

    def random(self, generator: np.random.Generator) -> Scalar:
        """A value drawn uniformly (log-uniformly where `log`)."""
        values = self.values()
        log = getattr(self.distribution, "log", False)
        if values is not None and not log:
            return values[int(generator.integers(len(values)))]
        assert isinstance(self.distribution, IntDistribution | FloatDistribution)
        low, high = self.distribution.low, self.distribution.high
        if isinstance(self.distribution, IntDistribution):
            drawn = math.exp(generator.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(drawn), low), high)
        drawn = math.exp(generator.uniform(math.log(low), math.log(high))) if log else generator.uniform(low, high)
        return float(min(max(drawn, low), high))

    def neighbours(self, value: Scalar, generator: np.random.Generator) -> list[Scalar]:
        """The values that one edit reaches: next to `value` where there is an order, else any other."""
        values = self.values()
        if values is None:
            return self._nearby(value, generator)
        others = [other for other in values if other != value or type(other) is not type(value)]
        ordered = all(isinstance(item, int | float) and not isinstance(item, bool) for item in values)
        if not ordered or value not in values:
            return others
        ladder = sorted(values)  # type: ignore[type-var]
        index = ladder.index(value)
        return [ladder[near] for near in (index - 1, index + 1) if 0 <= near < len(ladder)]

    def _nearby(self, value: Scalar, generator: np.random.Generator) -> list[Scalar]:
        """A step of a tenth of the range (in the logarithm where `log`) to either side."""
        assert isinstance(self.distribution, FloatDistribution) and isinstance(value, int | float)
        low, high = self.distribution.low, self.distribution.high
        forward, back = (math.log, math.exp) if self.distribution.log else (float, float)
        step = abs(generator.normal(0, 0.1)) * (forward(high) - forward(low))
        reached = [min(max(back(forward(value) + sign * step), low), high) for sign in (-1, 1)]
        return [near for near in reached if near != value]


def is_leaf(node: object) -> bool:
    """Whether a node of the template is a parameter: a mapping with exactly one of the three kinds as a key."""
    return isinstance(node, Mapping) and sum(kind in node for kind in KINDS) == 1


def parse(name: str, node: Mapping[str, Any], where: object) -> Parameter:
    """The parameter of a leaf; `when` names are siblings, or absolute where they have a dot. `InputError` if malformed."""
    kind = next(kind for kind in KINDS if kind in node)
    for key in node:
        if key != kind and key not in _OPTIONS[kind]:
            raise InputError(
                where, f"{name}.{key}", f"an option of {kind!r}", "an unknown one", suggestion(key, _OPTIONS[kind])
            )
    prefix = name.rpartition(".")[0]
    conditions = []
    when = node.get("when", {})
    if not isinstance(when, Mapping):
        raise InputError(where, f"{name}.when", "a mapping of parameters to their values", repr(when))
    for other, allowed in when.items():
        absolute = other if "." in other or not prefix else f"{prefix}.{other}"
        conditions.append((absolute, tuple(allowed) if isinstance(allowed, list | tuple) else (allowed,)))
    try:
        distribution = _distribution(kind, node)
    except (ValueError, TypeError) as error:
        raise InputError(where, name, _shape(kind), node[kind], str(error)) from error
    parameter = Parameter(name, distribution, tuple(conditions), None)
    return Parameter(name, distribution, parameter.when, node.get("otherwise", parameter.default))


def _shape(kind: str) -> str:
    return "a list of different scalars" if kind == "choice" else f"two {kind}s, low <= high"


def _distribution(kind: str, node: Mapping[str, Any]) -> BaseDistribution:
    items = node[kind]
    if not isinstance(items, list | tuple):
        raise TypeError("it is not a list")
    if kind == "choice":
        if (
            not items
            or any(isinstance(item, list | dict) for item in items)
            or len({repr(item) for item in items}) < len(items)
        ):
            raise ValueError("empty, nested or repeated values")
        return CategoricalDistribution(list(items))
    if len(items) != 2 or any(isinstance(item, bool) or not isinstance(item, int | float) for item in items):
        raise ValueError("it is not a pair of numbers")
    low, high = items
    log = bool(node.get("log", False))
    if kind == "float":
        return FloatDistribution(float(low), float(high), log=log, step=node.get("step"))
    if any(not isinstance(item, int) for item in items):
        raise ValueError("the bounds are not whole")
    step = int(node.get("step", 1))
    if step < 1 or (high - low) % step:
        raise ValueError(f"the step {step} does not lead from {low} to {high}")
    return IntDistribution(low, high, log=log, step=step)
