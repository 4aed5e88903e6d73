"""A module and a few batches of its input, or inputs -> the range of the numbers in each tensor of its network.

The module runs for real, watched by the recorder that traces it, so that the calls come in the same order and every range
finds its tensor. Ranges are of all batches together; a percentile below 100 leaves out the rarest numbers on either side.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nas.compiler.front_end.lower import lowered
from nas.compiler.front_end.tracing.calls import Value
from nas.compiler.front_end.tracing.recorder import Recorder
from nas.compiler.front_end.tracing.trace import evaluating
from nas.core.errors import InputError

Range = tuple[float, float]
Batch = torch.Tensor | Sequence[torch.Tensor]

_SAMPLE = 1 << 20  # numbers that a percentile is taken of


def observed_ranges(module: nn.Module, batches: Sequence[Batch], percentile: float = 100.0) -> dict[str, Range]:
    """(lowest, highest) of each tensor of `network_of(module, (batches[0].shape,))`, by name.

    batches: inputs of one shape, batch first; tuples of one tensor for each argument of a forward that takes several. Raises
    InputError for a module that can't be traced, and for a batch that lacks a tensor.
    """
    given = [(batch,) if isinstance(batch, torch.Tensor) else tuple(batch) for batch in batches]
    network, builder = lowered(module, tuple(tuple(each.shape) for each in given[0]), "")
    names = builder.meanings()
    ranges: dict[str, Range] = {}
    for place, inputs in enumerate(given):
        if len(inputs) != len(network.inputs):
            expected = f"a tensor for each of {', '.join(network.inputs)}"
            raise InputError(type(module).__name__, f"batches[{place}]", expected, len(inputs))
        batch = [each.clone() for each in inputs]  # a forward may write to its input
        observer = _Observer(module, percentile)
        for each in batch:
            observer.new_value(each)
        with evaluating(module), torch.no_grad(), observer.installed():
            module(*batch)
        for index, (low, high) in observer.ranges.items():
            for name in names.get(index, ()):
                known = ranges.get(name, (low, high))
                ranges[name] = (min(low, known[0]), max(high, known[1]))
    return ranges


class _Observer(Recorder):
    """Follows real tensors, by the numbers that the tracing of their shapes would give them."""

    def __init__(self, root: nn.Module, percentile: float) -> None:
        super().__init__(root)
        self._percentile = percentile
        self.ranges: dict[int, Range] = {}

    def new_value(self, tensor: torch.Tensor) -> Value:
        value = super().new_value(tensor)
        if tensor.is_floating_point() and tensor.numel():
            observed = _range_of(tensor, self._percentile)
            if all(map(math.isfinite, observed)):  # of what is masked by infinities no codes are any good
                self.ranges[value.index] = observed
        return value

    def run(self, function: Any, args: Any, kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def written(self, tensor: torch.Tensor) -> torch.Tensor:
        """Who has numbers stays what it is."""
        return tensor

    def is_followed(self, results: list[torch.Tensor]) -> bool:
        return bool(results)

    def quantiser(self, module: Any, args: tuple[Any, ...]) -> torch.Tensor | None:
        """A quantiser is one call, whatever it does inside."""
        if not self.is_quantiser(module, args):
            return None
        with torch._C.DisableTorchFunction():
            result: torch.Tensor = module.forward(*args)
        if self.is_value(args[0]):
            self.new_value(result)
        return result


def _range_of(tensor: torch.Tensor, percentile: float) -> Range:
    numbers = tensor.detach().float().reshape(-1)
    if percentile >= 100.0:
        return float(numbers.min()), float(numbers.max())
    numbers = numbers[:: -(-len(numbers) // _SAMPLE)]
    low, high = torch.quantile(numbers, torch.tensor([1.0 - percentile / 100.0, percentile / 100.0])).tolist()
    return low, high
