"""The errors of a training, evaluation by evaluation -> when to stop, and the best weights so far."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nas.core.errors import InputError


@dataclass(frozen=True)
class EarlyStopConfig:
    """evaluations: how many may pass without a better error; 0 is off.

    min_delta: by how much an error rate must be lower than the last better one to be better.
    """

    evaluations: int = 0
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        for name in ("evaluations", "min_delta"):
            if not getattr(self, name) >= 0:
                raise InputError("trainer.early_stop", name, "0 or more", getattr(self, name))


class EarlyStop:
    """Remembers the best weights of `network`; a part of the checkpoint."""

    def __init__(self, network: nn.Module, config: EarlyStopConfig) -> None:
        self._network, self._config = network, config
        self._best: dict[str, Tensor] = {}
        self._lowest = self._better = float("inf")
        self._since = 0

    def should_stop(self, error: float) -> bool:
        """Remember the present weights if `error` is the lowest yet; whether patience is at its end."""
        if error < self._lowest:
            self._lowest = error
            self._best = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
        if error < self._better - self._config.min_delta:
            self._better, self._since = error, 0
        else:
            self._since += 1
        return self._since >= self._config.evaluations

    def best(self) -> dict[str, Tensor]:
        """The weights with the lowest error, as a state_dict."""
        return self._best

    def tensors(self) -> dict[str, Tensor]:
        return self._best

    def state(self) -> dict[str, Any]:
        return {"lowest": self._lowest, "better": self._better, "since": self._since} if self._best else {}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        shapes = {name: value.shape for name, value in self._network.state_dict().items()}
        if (tensors or state) and {name: value.shape for name, value in tensors.items()} != shapes:
            raise ValueError("expected the best weights of this network, got those of another")
        self._best = dict(tensors)
        self._lowest, self._better = (float(state.get(name, "inf")) for name in ("lowest", "better"))
        self._since = int(state.get("since", 0))
