"""Records -> what Optuna is told: two values to minimise (validation error, simulated latency) and constraints, where a
value of zero or less is fulfilled. A constraint is the relative excess over its limit, so they add up sensibly.
"""

from typing import NamedTuple

import msgspec
from optuna.study import Study
from optuna.trial import Trial, TrialState

from nas.core.errors import Violation
from nas.cost.model import Cost
from nas.search.trials.record import Record

STATE_ATTRIBUTE = "state"


class Limits(msgspec.Struct, frozen=True):
    """What a network may need at most; None is no limit. All are known before any training."""

    sram_peak_bytes: int | None = None
    parameters: int | None = None
    latency_s: float | None = None


class Reference(msgspec.Struct, frozen=True):
    """The fixed corner against which hypervolumes are measured; worse points count nothing."""

    error: float
    latency_s: float

    @property
    def point(self) -> tuple[float, float]:
        return self.error, self.latency_s


def constraints(limits: Limits, cost: Cost) -> dict[str, float]:
    """The relative excess over each limit that is set, e.g. {"parameters": -0.2}."""
    amounts = {
        "sram_peak_bytes": (cost.peak_sram_bytes, limits.sram_peak_bytes),
        "parameters": (cost.parameters, limits.parameters),
        "latency_s": (cost.latency_s, limits.latency_s),
    }
    return {name: have / limit - 1 for name, (have, limit) in amounts.items() if limit is not None}


def violations(limits: Limits, cost: Cost) -> list[Violation]:
    """The limits that `cost` exceeds, as values that say by how much."""
    excess = constraints(limits, cost)
    units = {"sram_peak_bytes": "bytes", "parameters": "weights", "latency_s": "s"}
    needs = {"sram_peak_bytes": cost.peak_sram_bytes, "parameters": cost.parameters, "latency_s": cost.latency_s}
    return [
        Violation(name, "constraints", float(needs[name]), float(getattr(limits, name)), units[name])
        for name, value in excess.items()
        if value > 0
    ]


class Told(NamedTuple):
    """What Optuna gets to know of a record."""

    state: TrialState
    values: list[float] | None
    constraints: dict[str, float]
    attributes: dict[str, str]


def told(record: Record, limits: Limits, reference: Reference) -> Told:
    """What Optuna is told of `record`.

    A rejected one is complete, with the worst error and its violated constraints, so that constraint-aware samplers learn
    from it; a stopped one has its predicted error; a failed one is failed, which every sampler ignores.
    """
    attributes: dict[str, str] = {STATE_ATTRIBUTE: record.state}
    if record.state == "failed":
        return Told(TrialState.FAIL, None, {}, attributes)
    excess = constraints(limits, record.cost) if record.cost is not None else {}
    for violation in record.violations:
        if excess.get(violation.what, 0.0) <= 0:
            excess[violation.what] = violation.need / violation.have - 1 if violation.have > 0 else 1.0
    latency_s = record.cost.latency_s if record.cost is not None else reference.latency_s
    error = record.error if record.error is not None and record.trained else 1.0
    return Told(TrialState.COMPLETE, [error, latency_s], excess, attributes)


def tell(study: Study, trial: Trial, record: Record, limits: Limits, reference: Reference) -> None:
    """Finish an Optuna trial from its record."""
    known = told(record, limits, reference)
    for name, text in known.attributes.items():
        trial.set_user_attr(name, text)
    for name, value in known.constraints.items():
        trial.set_constraint(name, value)
    study.tell(trial, known.values, known.state)
