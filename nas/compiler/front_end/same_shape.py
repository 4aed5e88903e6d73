"""Stand-ins for functions that keep their argument's shape: torch takes milliseconds for the shapes of some of them.

On the meta device only shapes count: an empty tensor is as good as a batch norm, at a fiftieth of the time.
"""

from typing import Any

import torch
import torch.nn.functional as F

from nas.compiler.front_end.names import torch_functions

# Functions that only ask a tensor for its shape, type and place.
FILLED = frozenset(
    torch_functions("zeros_like", "ones_like", "full_like", "empty_like")
    + torch_functions(*(f"Tensor.new_{name}" for name in ("zeros", "ones", "full", "empty", "tensor")))
)
# The place of `inplace` among the arguments.
_INPLACE = {F.relu: 1, F.hardtanh: 3, F.relu6: 1, F.hardswish: 1, F.hardsigmoid: 1, F.silu: 1, F.leaky_relu: 2}
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training")


def same_shape(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """What `function` gives, as far as its shape goes; None for any other function, and for arguments that don't fit."""
    if function is F.batch_norm:
        return _batch_norm(args, kwargs)
    place = _INPLACE.get(function)
    if place is None or not args or not isinstance(args[0], torch.Tensor) or not args[0].is_floating_point():
        return None
    inplace = args[place] if len(args) > place else kwargs.get("inplace", False)
    return torch.relu_(args[0]) if inplace else torch.empty_like(args[0])


def _batch_norm(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    given = {**dict(zip(_BATCH_NORM, args, strict=False)), **kwargs}
    source, mean = given.get("input"), given.get("running_mean")
    if given.get("training") or not isinstance(source, torch.Tensor) or mean is None or source.dim() < 2:
        return None
    channels = (source.shape[1],)
    per_channel = (given.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
    if any(each is not None and tuple(each.shape) != channels for each in per_channel):
        return None  # torch says what is wrong
    return torch.empty_like(source)
