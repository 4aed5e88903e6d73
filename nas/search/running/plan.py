"""What one search is to do, as a value and as `search.json`: everything a worker needs to join it, and resume needs to know."""

from pathlib import Path
from typing import Any

import msgspec

from nas.core.artifact import read_json, write_json
from nas.core.errors import InputError
from nas.search.trials.objective import Limits, Reference

KIND, VERSION = "search_plan", 1
PLAN_NAME = "search.json"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """space: the template; sampler: {"name": ..., its options}; trials: how many trainings; factory and settings: where a
    worker gets its `Parts` from; lease_s: after so long without a heartbeat a worker counts as dead;
    redraws: how many rejected candidates are bearable per training; early_stopping: see `stopping`; limit_found: in words, where
    the limit of the latency comes from if nobody has chosen it.
    """

    space: dict[str, Any]
    sampler: dict[str, Any]
    trials: int
    factory: str
    settings: dict[str, Any]
    limits: Limits
    reference: Reference
    seed: int = 0
    storage: str = "journal"
    lease_s: float = 60.0
    redraws: int = 50
    early_stopping: bool = False
    study_name: str = "search"
    limit_found: str = ""


def write_plan(folder: Path, plan: Plan) -> Plan:
    """Start the search in `folder`, or go on with the one that is there.

    More (or fewer) trials, another sampler and other lease times are fine when going on; what would make records of
    different searches incomparable is an `InputError`.
    """
    path = folder / PLAN_NAME
    if path.exists():
        before = read_plan(folder)
        for name in ("space", "limits", "reference", "seed", "settings"):
            old, new = getattr(before, name), getattr(plan, name)
            if old != new:
                raise InputError(
                    path,
                    name,
                    f"what the search began with ({_short(old, new)})",
                    _short(new, old),
                    "choose another folder",
                )
    write_json(path, plan, KIND, VERSION)
    return plan


def read_plan(folder: Path) -> Plan:
    """The plan of the search in `folder`."""
    return read_json(folder / PLAN_NAME, Plan, KIND, VERSION)


def _short(value: Any, other: Any) -> str:
    """Only what differs of two settings, at any depth, so that the message can be read."""
    if isinstance(value, msgspec.Struct) and isinstance(other, msgspec.Struct):
        value, other = msgspec.to_builtins(value), msgspec.to_builtins(other)
    if isinstance(value, dict) and isinstance(other, dict):
        return ", ".join(
            f"{key}: {_short(item, other.get(key))}" for key, item in value.items() if item != other.get(key)
        )
    return str(value)
