"""A training whose loss is no number any more -> the layer where that began.

Looking at every step for it would cost every step. So the state of the parts is kept in memory now and then, as a
checkpoint would keep it, and when a loss turns out bad the steps since are repeated up to the one before it. Then the bad
step's forward pass is watched layer by layer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas.train.state.parts import Parts


class LastGood:
    """The state of `parts` when `step` steps are done, on the CPU."""

    def __init__(self, parts: Parts, step: int) -> None:
        self._parts = parts
        self.keep(step)

    def keep(self, step: int) -> None:
        """Remember the present state, in which `step` steps are done."""
        self.step = step
        self._kept = {
            name: ({key: value.detach().to("cpu", copy=True) for key, value in part.tensors().items()}, part.state())
            for name, part in self._parts.items()
        }

    def restore(self) -> int:
        """Go back to it; how many steps are done there."""
        for name, part in self._parts.items():
            part.load(*self._kept[name])
        return self.step


def first_bad_layer(network: nn.Module, run: Callable[[], Tensor]) -> str:
    """What is wrong first when `run` calls `network`; "" where nothing is. The network is watched for this one call."""
    bad_weights = [name for name, value in network.named_parameters() if not _is_finite(value)]
    if bad_weights:
        # A bad gradient spreads from where it arises to all layers before: the last one is where it began.
        layer = bad_weights[-1].rpartition(".")[0] or "the network"
        return f"the gradient of {layer} was not finite in the step before"
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, _: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not _is_finite(output):
                found.append(f"the output of {name or 'the network'} ({type(module).__name__}) is not finite")

        return look

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules()]
    try:
        with torch.no_grad():
            loss = run()
    finally:
        for handle in handles:
            handle.remove()
    if not found and not _is_finite(loss):
        return "the loss itself is not finite, all layers are"
    return found[0] if found else ""


def _is_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
