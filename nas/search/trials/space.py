"""What may be searched, as data -> candidates. Every `suggest_*` of the project is here.

A space is a nested template (conf/space/*.yaml) in which a leaf `{choice: [...]}`, `{int: [low, high]}` or
`{float: [low, high]}` is a parameter named by its dotted path ("network.stages.0.width") and all else is constant.
A parameter with `when` matters only under that condition; where it does not matter it is set to one fixed value, so two
sets of parameters never name the same candidate.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from nas.core.errors import InputError, suggestion
from nas.search.trials.candidate import Candidate
from nas.search.trials.parameter import Parameter, Scalar, is_leaf, parse

Params = dict[str, Scalar]


class Space:
    """An immutable search space. `where` (a file or a group of keys) goes into the errors."""

    def __init__(self, template: Mapping[str, Any], where: object = "space") -> None:
        unknown = set(template) - {"network", "hardware"}
        if unknown or "network" not in template:
            got = ", ".join(sorted(unknown)) or "no network"
            raise InputError(where, "", "the keys network and (optional) hardware", got)
        for name, fields in template.items():
            if not isinstance(fields, Mapping) or is_leaf(fields):
                raise InputError(where, name, "a mapping of fields to values or choices", fields)
        self._template = template
        self._where = where
        self.parameters: dict[str, Parameter] = {}
        self._collect(template, "")
        if not self.parameters:
            raise InputError(where, "", "a space with something to choose", "none")
        self._order = self._resolve_order()
        self.distributions: dict[str, BaseDistribution] = {
            name: parameter.distribution for name, parameter in self.parameters.items()
        }

    def suggest(self, trial: Trial) -> Candidate:
        """The candidate of an Optuna trial: every parameter is suggested, so that the space is the same for every trial."""
        return self.assemble({name: _suggest(trial, name, kind) for name, kind in self.distributions.items()})

    def assemble(self, params: Mapping[str, Scalar]) -> Candidate:
        """The candidate that `params` describe; missing, unknown and impossible ones are `InputError`s."""
        self._check(params)
        canonical = self.canonical(params)
        active = self.active(canonical)

        def fill(node: Any, path: str) -> Any:
            if is_leaf(node):
                return canonical[path] if path in active else self.parameters[path].otherwise
            if isinstance(node, Mapping):
                return {key: fill(item, f"{path}.{key}" if path else str(key)) for key, item in node.items()}
            if isinstance(node, list | tuple):
                return [fill(item, f"{path}.{index}") for index, item in enumerate(node)]
            return node

        filled = fill(self._template, "")
        return Candidate(filled["network"], filled.get("hardware", {}))

    def active(self, params: Mapping[str, Scalar]) -> set[str]:
        """The names of the parameters that matter: all conditions hold, and what they look at matters too."""
        matter: set[str] = set()
        for name in self._order:
            conditions = self.parameters[name].when
            if all(other in matter and _among(params[other], allowed) for other, allowed in conditions):
                matter.add(name)
        return matter

    def canonical(self, params: Mapping[str, Scalar]) -> Params:
        """`params` with every parameter that does not matter at its default."""
        active = self.active(params)
        return {name: params[name] if name in active else self.parameters[name].default for name in self.parameters}

    def random(self, generator: np.random.Generator) -> Params:
        """Canonical parameters, each drawn uniformly from its own range."""
        return self.canonical({name: parameter.random(generator) for name, parameter in self.parameters.items()})

    def mutate(self, params: Mapping[str, Scalar], generator: np.random.Generator) -> Params:
        """Exactly one edit of one parameter that matters: to a neighbour where values have an order, else to any other."""
        canonical = self.canonical(params)
        edits = {}
        for name in sorted(self.active(canonical)):
            reachable = self.parameters[name].neighbours(canonical[name], generator)
            if reachable:
                edits[name] = reachable
        if not edits:
            raise InputError(self._where, "", "a space with something to choose", "none")
        name = list(edits)[int(generator.integers(len(edits)))]
        value = edits[name][int(generator.integers(len(edits[name])))]
        return self.canonical(canonical | {name: value})

    def every(self, limit: int) -> Iterator[Params] | None:
        """All canonical parameters, or None where the plain product of the ranges exceeds `limit`."""
        ranges = [parameter.values() for parameter in self.parameters.values()]
        if any(values is None for values in ranges) or math.prod(len(values or ()) for values in ranges) > limit:
            return None
        seen: set[tuple[Scalar, ...]] = set()

        def walk() -> Iterator[Params]:
            for values in itertools.product(*[values or () for values in ranges]):
                canonical = self.canonical(dict(zip(self.parameters, values, strict=True)))
                identity = tuple(canonical.values())
                if identity not in seen:
                    seen.add(identity)
                    yield canonical

        return walk()

    def _collect(self, node: Any, path: str) -> None:
        if is_leaf(node):
            self.parameters[path] = parse(path, node, self._where)
        elif isinstance(node, Mapping):
            for key, item in node.items():
                self._collect(item, f"{path}.{key}" if path else str(key))
        elif isinstance(node, list | tuple):
            for index, item in enumerate(node):
                self._collect(item, f"{path}.{index}")

    def _resolve_order(self) -> list[str]:
        """The names so that each comes after those its condition looks at; a circle is an `InputError`."""
        order: list[str] = []
        waiting = dict(self.parameters)
        for name, parameter in self.parameters.items():
            for other, allowed in parameter.when:
                if other not in self.parameters:
                    raise InputError(
                        self._where, f"{name}.when", "another parameter", other, suggestion(other, self.parameters)
                    )
                values = self.parameters[other].values()
                for value in allowed if values is not None else ():
                    if not _among(value, tuple(values or ())):
                        hint = suggestion(str(value), map(str, values or ()))
                        raise InputError(
                            self._where, f"{name}.when", f"a value that {other} can have", repr(value), hint
                        )
        while waiting:
            ready = [name for name, item in waiting.items() if all(other in order for other, _ in item.when)]
            if not ready:
                raise InputError(self._where, "when", "conditions without a circle", ", ".join(waiting))
            for name in ready:
                order.append(name)
                del waiting[name]
        return order

    def _check(self, params: Mapping[str, Scalar]) -> None:
        for name in params:
            if name not in self.parameters:
                raise InputError(
                    self._where, name, "a parameter of the space", "an unknown one", suggestion(name, self.parameters)
                )
        for name, distribution in self.distributions.items():
            if name not in params:
                raise InputError(self._where, name, "a value", "none")
            try:
                inside = distribution._contains(distribution.to_internal_repr(params[name]))
            except ValueError:
                inside = False
            if not inside:
                raise InputError(self._where, name, f"a value of {distribution}", params[name])


def _among(value: Scalar, allowed: tuple[Scalar, ...]) -> bool:
    return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in allowed)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Scalar:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
