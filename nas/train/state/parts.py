"""The parts of a training that change -> tensors and plain values for a checkpoint, and back.

A part is whatever has to be as it was for a resumed run to give the same bits: each knows its own state and nothing of
files. A new part is a class with these three methods and a line in the trainer.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.train.recipe.optimizer import load_optimizer_tensors, optimizer_tensors
from nas.train.recipe.stepper import Stepper


class Part(Protocol):
    """Something with a state."""

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors, by names of its own."""

    def state(self) -> dict[str, Any]:
        """The rest, as plain values that JSON can hold."""

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from what the other two gave; tensors come on the CPU."""


Parts = dict[str, Part]  # by the name under which a checkpoint keeps them


class ModelPart:
    """The weights and statistics of a network."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def tensors(self) -> dict[str, Tensor]:
        return self._model.state_dict()

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        del state
        self._model.load_state_dict(tensors)


class OptimizerPart:
    """Its moments and counts."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    def tensors(self) -> dict[str, Tensor]:
        return optimizer_tensors(self._optimizer)

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        del state
        load_optimizer_tensors(self._optimizer, tensors)


class ScalerPart:
    """The scale of float16 gradients."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self._scaler = scaler

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def state(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        del tensors
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state)


class StepperPart:
    """What a stepper remembers."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def state(self) -> dict[str, Any]:
        return self._stepper.state()

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        del tensors
        self._stepper.load_state(state)
