"""Finished trials and prices -> the candidate that promises the most: a sampler for a few dozen trainings.

What a network costs is known before it is trained, so every candidate of a pool (edits of the front, and random ones) is
compiled and simulated: its latency is exact. Its error is predicted by a Gaussian process from its cost and its parameters.
Each is scored by the hypervolume that its latency and its optimistic error (the mean minus `caution` standard deviations)
would add, as in SMS-EGO (Ponweiser et al. 2008), and the best is proposed. A candidate in training elsewhere counts as if
it had its predicted error.

Features: the logarithms of latency and number of weights, which tell most of what a few trainings can teach (57 trainings
of conf/space/quantized_cnn: rank correlation of prediction and error 0.65 after ten of them, 0.3 from the parameters
alone); beside them, with less weight, the parameters: a number as its place on its (logarithmic) range, 0 to 1; any other
choice one-hot; 0 where it does not matter.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.core.seeding import stream
from nas.cost.model import Cost
from nas.search.sampling.gaussian_process import Array, fit
from nas.search.sampling.proposal import REFERENCE_ATTRIBUTE, START, Price, Proposal, evaluated, require
from nas.search.trials.pareto import front_indices, hypervolume
from nas.search.trials.space import Params, Space

_BOX = 1.05  # the reference point relative to the worst values seen, where the study has none
_TYPICAL = 75  # percentile: how much worse a bad one is than that (a training that went wrong) teaches nothing
_WORSE = 0.2  # of the logarithm of an error
_COST_SPREAD = 0.5  # standard deviation of a cost as a feature
_CHOICE_WEIGHT = 0.3  # of a step across the whole range of a parameter
_DRAWS = 4  # for each place in the pool at most, where many candidates are known already or cannot run


class _Priced(NamedTuple):
    params: Params
    cost: Cost


class Surrogate(msgspec.Struct, frozen=True):
    """start: random candidates at first; pool: candidates priced per proposal, `explore` of them random; caution: see above."""

    start: int = 6
    pool: int = 64
    explore: float = 0.25
    caution: float = 1.0

    def __post_init__(self) -> None:
        bounds = {"start": (self.start, 2, math.inf), "pool": (self.pool, 1, math.inf)}
        require("surrogate", **bounds, explore=(self.explore, 0, 1), caution=(self.caution, 0, math.inf))

    def propose(self, space: Space, study: Study, trial: FrozenTrial, seed: int, price: Price) -> Proposal:
        generator = stream(seed)
        trials = [other for other in evaluated(study) if price(other.params) is not None]
        if len(trials) < self.start:
            return Proposal(space.random(generator), START)
        points = np.array([other.values for other in trials])
        front = front_indices(points.tolist())
        known = _priced([other.params for other in trials], price)
        running = _priced(_running(study, trial), price)
        taken = [item.params for item in known + running]
        pool = self._pool(space, [known[index].params for index in front], taken, generator, price)
        if not pool:
            return Proposal(space.random(generator), "random")
        rows = features(space, known + running + pool)
        inputs, waiting, wanted = np.split(rows, [len(known), len(known) + len(running)])
        reference = study.user_attrs.get(REFERENCE_ATTRIBUTE)
        errors = _bounded(np.log(np.maximum(points[:, 0], 1e-12)), reference)
        believed = fit(inputs, errors).predict(waiting)[0]
        mean, deviation = fit(np.vstack([inputs, waiting]), np.append(errors, believed)).predict(wanted)
        optimistic = _points(mean - self.caution * deviation, pool)
        base = np.vstack([points[front], _points(believed, running)])
        box = reference or (points.max(axis=0) * _BOX).tolist()
        gains = [hypervolume(np.vstack([base, point]).tolist(), box) for point in optimistic]
        return Proposal(pool[int(np.argmax(gains))].params, "surrogate")

    def _pool(
        self, space: Space, parents: list[Params], taken: list[Params], generator: np.random.Generator, price: Price
    ) -> list[_Priced]:
        """Up to `pool` new candidates that fulfil every constraint."""
        pool: list[_Priced] = []
        for _ in range(_DRAWS * self.pool):
            params = self._candidate(space, parents, generator)
            if params not in taken:
                taken = [*taken, params]
                pool += _priced([params], price)
            if len(pool) == self.pool:
                break
        return pool

    def _candidate(self, space: Space, parents: list[Params], generator: np.random.Generator) -> Params:
        """A random one, or a parent with one edit, two edits (half as often) and so on; an edit may go anywhere."""
        if generator.random() < self.explore:
            return space.random(generator)
        params = parents[int(generator.integers(len(parents)))]
        while True:
            name = sorted(space.active(params))[int(generator.integers(len(space.active(params))))]
            params = space.canonical(params | {name: space.parameters[name].random(generator)})
            if generator.random() < 0.5:
                return params


def _bounded(log_errors: Array, reference: Sequence[float] | None) -> Array:
    """The same, but that bad ones are little worse than typical ones, or than the reference, beyond which networks are worth nothing."""
    bound = np.percentile(log_errors, _TYPICAL) + _WORSE
    if reference is not None:
        bound = np.maximum(bound, math.log(reference[0]) + _WORSE)
    bounded: Array = np.minimum(log_errors, bound)
    return bounded


def features(space: Space, candidates: list[_Priced]) -> Array:
    """A row for each candidate, see the top of the file; costs are relative to those of the other rows."""
    costs = np.log([[item.cost.latency_s, max(1, item.cost.parameters)] for item in candidates])
    costs = (costs - costs.mean(axis=0)) / (costs.std(axis=0) + 1e-9) * _COST_SPREAD
    choices = np.array([choice_features(space, item.params) for item in candidates])
    rows: Array = np.hstack([costs, _CHOICE_WEIGHT * choices])
    return rows


def choice_features(space: Space, params: Params) -> Array:
    """A set of parameters as a vector of places on ranges and one-hot choices."""
    active = space.active(params)
    row: list[float] = []
    for name, parameter in space.parameters.items():
        values, value = parameter.values(), params[name]
        if values is not None and not all(_is_number(item) for item in values):
            row += [0.7 * (name in active and value == item) for item in values]  # 0.7: two choices are 1 apart
            continue
        numbers = [float(item) for item in values or _ends(parameter.distribution)]  # type: ignore[arg-type]
        low, high = min(numbers), max(numbers)
        scale = math.log if low > 0 else float
        span = scale(high) - scale(low)
        row.append((scale(float(value)) - scale(low)) / span if span and name in active else 0.0)  # type: ignore[arg-type]
    return np.array(row)


def _points(log_errors: Array, candidates: list[_Priced]) -> Array:
    """(error, latency in seconds) of each candidate, shape (candidates, 2)."""
    latencies = [item.cost.latency_s for item in candidates]
    return np.column_stack([np.exp(log_errors), np.array(latencies, dtype=float)])


def _priced(candidates: list[Params], price: Price) -> list[_Priced]:
    """Those that can run and exceed no limit, with what they cost."""
    return [_Priced(params, cost) for params in candidates if (cost := price(params)) is not None]


def _running(study: Study, trial: FrozenTrial) -> list[Params]:
    """What other workers are at: asked, and all parameters chosen."""
    others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [other.params for other in others if other.number != trial.number and other.params]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ends(distribution: object) -> list[float]:
    return [distribution.low, distribution.high]  # type: ignore[attr-defined]
