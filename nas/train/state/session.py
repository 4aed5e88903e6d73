"""How far a training is: its counters, its curve, and losses that still lie on the device.

`save` and `resume` turn it and the parts of the training into a checkpoint and back.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from nas.core.errors import InputError, invalid
from nas.train.machine.distributed import Group
from nas.train.state.checkpoint import (
    PROGRESS_FILE,
    Progress,
    checkpoint_of_first,
    of_prefix,
    save_checkpoint,
    with_prefix,
)
from nas.train.state.parts import Parts
from nas.train.state.result import CurvePoint
from nas.train.state.settings import refuse_another_run
from nas.train.state.stopwatch import Stopwatch

# What parts, and torch behind them, say to tensors and values that are missing, or of another shape or kind.
_OF_DAMAGED_PARTS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass
class Session:
    """step: how many are done. loss_sum, loss_steps: of those that were read since the last point of the curve."""

    step: int = 0
    time: Stopwatch = field(default_factory=Stopwatch)
    stopped: bool = False
    curve: list[CurvePoint] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_steps: int = 0
    unread: list[Tensor] = field(default_factory=list)

    def note(self, loss: Tensor) -> None:
        """One more step is done; its loss stays where it is, and nobody waits for it."""
        self.unread.append(loss)
        self.step += 1

    def read(self) -> tuple[float, tuple[int, float] | None]:
        """The mean of the losses that nobody has read; step and loss of the first that is not finite. Waits for the device."""
        values = torch.stack(self.unread).tolist()
        before = self.step - len(values)
        self.unread.clear()
        self.loss_sum += sum(values)
        self.loss_steps += len(values)
        bad = [(before + index, value) for index, value in enumerate(values) if not math.isfinite(value)]
        return sum(values) / len(values), bad[0] if bad else None

    def save(self, folder: Path, run: dict[str, Any], parts: Parts) -> None:
        """Make the present state the checkpoint of `folder`."""
        tensors: dict[str, Tensor] = {}
        for name, part in parts.items():
            tensors |= with_prefix(f"{name}/", part.tensors())
        self.time.lap()
        progress = Progress(
            step=self.step,
            seconds=self.time.seconds,
            loss_sum=self.loss_sum,
            loss_steps=self.loss_steps,
            stopped=self.stopped,
            curve=msgspec.to_builtins(self.curve),
            parts={name: state for name, part in parts.items() if (state := part.state())},
            run=run,
            processor_s=self.time.processor_s,
        )
        save_checkpoint(folder, progress, tensors)

    def resume(self, folder: Path, run: dict[str, Any], parts: Parts, group: Group) -> None:
        """Take over the checkpoint of `folder`, if it has one; InputError where it is of another run."""
        found = checkpoint_of_first(folder, group)
        if found is None:
            return
        progress, tensors = found
        refuse_another_run(folder, progress.run, run)
        path = folder / PROGRESS_FILE
        try:
            self.curve = msgspec.convert(progress.curve, list[CurvePoint])
        except msgspec.ValidationError as error:
            _, _, place = str(error).partition(" - at `$")
            raise invalid(path, error, f"progress.curve{place.rstrip('`')}") from error
        if not self.curve and (progress.stopped or progress.step >= run["steps"]):
            raise InputError(path, "progress.curve", "a point at the end of the training", "none")
        for name, part in parts.items():
            try:
                part.load(of_prefix(f"{name}/", tensors), progress.parts.get(name, {}))
            except _OF_DAMAGED_PARTS as error:
                got = f"{type(error).__name__}: {' '.join(str(error).split())}"
                raise InputError(path, f"the part {name!r}", "what this training would leave there", got) from error
        self.step, self.stopped = progress.step, progress.stopped
        self.time = Stopwatch(progress.seconds, progress.processor_s)
        self.loss_sum, self.loss_steps = progress.loss_sum, progress.loss_steps
