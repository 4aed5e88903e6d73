"""What trains at a step: the whole network with its optimiser, or what somebody else hands out, such as a sub-network.

    network, optimizer = stepper.begin(step, steps)
    ... loss, gradients, optimizer.step() ...
    stepper.end(step, steps)
    ... more steps ...
    stepper.settle()

step: 0 .. steps - 1. What is handed out is used for this one step; `state` and `identity` go into the checkpoint.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer


class Stepper(Protocol):
    """A training that goes on in other networks than the whole one."""

    def begin(self, step: int, steps: int) -> tuple[nn.Module, Optimizer]:
        """The network, in training mode, and the optimiser of this step."""

    def end(self, step: int, steps: int) -> None:
        """After `optimizer.step()`, gradients still in place."""

    def settle(self) -> None:
        """Before somebody looks at the whole network or its optimiser: see to it that what has trained is in there."""

    def evaluated(self, network: nn.Module) -> nn.Module:
        """What counts now, of the whole network or of the average of its weights."""

    def state(self) -> dict[str, Any]:
        """What `load_state` goes on from, as plain values that JSON can hold."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; the whole network and its optimiser are restored already."""

    def identity(self) -> dict[str, Any]:
        """What two sessions of one run have in common, as plain values that JSON can hold."""


MakeStepper = Callable[[nn.Module, Optimizer], Stepper]  # the whole network and its optimiser -> what trains them


class WholeNetwork:
    """The stepper of an ordinary training."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._given = model, optimizer

    def begin(self, step: int, steps: int) -> tuple[nn.Module, Optimizer]:
        """Always the same two."""
        del step, steps
        return self._given

    def end(self, step: int, steps: int) -> None:
        """Nothing is left to do."""
        del step, steps

    def settle(self) -> None:
        """It is the whole network that has trained."""

    def evaluated(self, network: nn.Module) -> nn.Module:
        """The network as it is."""
        return network

    def state(self) -> dict[str, Any]:
        """Network and optimiser are all there is."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """There is nothing to load."""
        del state

    def identity(self) -> dict[str, Any]:
        """As every other ordinary training."""
        return {}
