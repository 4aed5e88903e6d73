"""A candidate -> its record, by a ladder of rungs ordered by price.

legal (network and hardware can be built) -> counted (parameters) -> simulated (compiled and timed) -> constraints decide -> trained. Nothing is
trained that a cheaper rung can reject. What the rungs do is injected as `Parts`, so this file knows no network, no data
and no compiler; a worker makes its own parts from an importable factory and plain settings.
"""

import importlib
import importlib.util
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file
from torch import nn

from nas.core.artifact import write_with
from nas.core.errors import InputError, Violation
from nas.cost.model import Cost, CostModel
from nas.search.trials.candidate import Candidate
from nas.search.trials.objective import Limits, violations
from nas.search.trials.record import Record, trial_folder

WEIGHTS_NAME = "weights.safetensors"
ShouldStop = Callable[[int, float], bool]  # (step, validation error) -> whether to end the training there
StopRule = Callable[[float], ShouldStop]  # of a candidate whose latency is known, in seconds


class FitResult(msgspec.Struct, frozen=True):
    """What a training found: the share of wrong validation images, its 95 % interval, and how it came there."""

    error: float
    low: float
    high: float
    curve: list[tuple[int, float]] = []
    steps: int = 0
    images_per_s: float = 0.0
    stopped: bool = False


@dataclass(frozen=True)
class Parts:
    """What the ladder needs from outside.

    build: description -> a new network, ValueError where it cannot exist; cost_model: overridden processor fields -> prices,
    InputError where no such processor can exist;
    fit: trains a network in place, writing into the folder (None: nowhere); export: (trained network, its record, folder)
    -> figures, having written what is worth keeping; input_shape: (batch, channels, height, width) of one inference.
    """

    input_shape: tuple[int, ...]
    build: Callable[[Mapping[str, Any]], nn.Module]
    cost_model: Callable[[Mapping[str, Any]], CostModel]
    fit: Callable[[nn.Module, Path | None, ShouldStop | None], FitResult]
    export: Callable[[nn.Module, Record, Path], dict[str, Any]] | None = None


def load_parts(factory: str, settings: Mapping[str, Any]) -> Parts:
    """Call the factory "module:function" or "path/to/file.py:function" with the plain settings."""
    module_name, separator, function = factory.rpartition(":")
    if not separator:
        raise InputError("factory", "", '"module:function"', repr(factory))
    if module_name.endswith(".py"):
        specification = importlib.util.spec_from_file_location(f"_parts_{Path(module_name).stem}", module_name)
        if specification is None or specification.loader is None or not Path(module_name).exists():
            raise InputError("factory", "", "a Python file", module_name)
        module = importlib.util.module_from_spec(specification)
        sys.path.append(str(Path(module_name).resolve().parent))  # as Python does for a script, but last
        sys.modules[specification.name] = module
        specification.loader.exec_module(module)
    else:
        module = importlib.import_module(module_name)
    make = getattr(module, function, None)
    if make is None:
        raise InputError("factory", module_name, "a module with this function", repr(function))
    return make(settings)  # type: ignore[no-any-return]


@dataclass
class _Climb:
    """The rungs that one trial has climbed, with their times."""

    seconds: dict[str, float] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def rung(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 4)


def price(candidate: Candidate, parts: Parts, limits: Limits) -> Cost | None:
    """What `candidate` costs by the rungs before training, with no memory for weights; None where they reject it."""
    try:
        with torch.device("meta"):
            network = parts.build(candidate.network)
        model = parts.cost_model(candidate.hardware)
    except (ValueError, InputError):
        return None
    cost = model.cost(network, parts.input_shape)
    return None if isinstance(cost, Violation) or violations(limits, cost) else cost


def evaluate(trial: Record, parts: Parts, limits: Limits, folder: Path, stop_rule: StopRule | None = None) -> Record:
    """Climb the ladder with the candidate of `trial` (an unfinished record) and return the finished record.

    Whatever goes wrong is recorded with its traceback: one bad candidate must not end a search.
    """
    climb = _Climb()
    try:
        state = _climb(climb, trial, parts, limits, folder, stop_rule)
        trace = ""
    except Exception:  # noqa: BLE001 the one outer shell of a trial
        state, trace = "failed", traceback.format_exc()
    finished = {"state": state, "traceback": trace, "seconds": climb.seconds, **climb.found}
    finished["finished_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    return msgspec.structs.replace(trial, **finished)


def _climb(climb: _Climb, trial: Record, parts: Parts, limits: Limits, folder: Path, stop_rule: StopRule | None) -> str:
    found = climb.found
    try:
        network = climb.rung("legal", lambda: parts.build(trial.candidate.network))
        model = parts.cost_model(trial.candidate.hardware)
    except (ValueError, InputError) as error:
        found["violations"] = [Violation("legal", "build", 1, 0, "network", str(error))]
        return "rejected"
    parameters = sum(weight.numel() for weight in network.parameters())
    if limits.parameters is not None and parameters > limits.parameters:
        found["violations"] = [Violation("parameters", "constraints", parameters, limits.parameters, "weights")]
        return "rejected"
    cost = climb.rung("simulated", lambda: model.cost(network, parts.input_shape))
    if isinstance(cost, Violation):
        found["violations"] = [cost]
        return "rejected"
    found["cost"] = cost
    found["violations"] = violations(limits, cost)
    if found["violations"]:
        return "rejected"
    place = trial_folder(folder, trial.number)
    should_stop = stop_rule(cost.latency_s) if stop_rule is not None else None
    result = climb.rung("trained", lambda: parts.fit(network, place, should_stop))
    found.update(error=result.error, error_low=result.low, error_high=result.high)
    found.update(curve=result.curve, steps=result.steps, images_per_s=result.images_per_s)
    if result.stopped:
        return "stopped"
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in network.state_dict().items()}
    write_with(place / WEIGHTS_NAME, lambda path: save_file(tensors, path))
    return "evaluated"
