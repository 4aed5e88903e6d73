"""Stand-ins for functions whose result has a plain shape: torch takes milliseconds for the shapes of some of them.

On the meta device only shapes count: an empty tensor is as good as a batch norm, at a fiftieth of the time.
"""

from collections.abc import Callable
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


def stand_in(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """What `function` gives, as far as its shape goes; None for any other function, and for arguments that don't fit."""
    make = _STAND_INS.get(function)
    if make is not None:
        return make(args, kwargs)
    place = _INPLACE.get(function)
    if place is None or not args or not isinstance(args[0], torch.Tensor) or not args[0].is_floating_point():
        return None
    inplace = args[place] if len(args) > place else kwargs.get("inplace", False)
    return torch.relu_(args[0]) if inplace else _like(args[0])


def _like(tensor: torch.Tensor) -> torch.Tensor:
    """An empty tensor of the same shape; for one with gaps torch decides on the strides."""
    if not tensor.is_contiguous():
        return torch.empty_like(tensor)
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _batch_norm(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    given = {**dict(zip(_BATCH_NORM, args, strict=False)), **kwargs}
    source, mean = given.get("input"), given.get("running_mean")
    if given.get("training") or not isinstance(source, torch.Tensor) or mean is None or source.dim() < 2:
        return None
    channels = (source.shape[1],)
    per_channel = (given.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
    if any(each is not None and tuple(each.shape) != channels for each in per_channel):
        return None  # torch says what is wrong
    return _like(source)


def _conv2d(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """All seven arguments in their places, as `nn.Conv2d` gives them, and fitting; torch says what is wrong with others."""
    if len(args) != 7 or kwargs:
        return None
    source, weight, bias, stride, padding, dilation, groups = args
    numbers = (stride, padding, dilation)
    if not all(type(pair) is tuple and len(pair) == 2 and type(pair[0]) is type(pair[1]) is int for pair in numbers):
        return None
    if not (_is_plain(source) and _is_plain(weight)) or source.dim() != 4 or weight.dim() != 4:
        return None
    images, channels, *size = source.shape
    outputs, depth, *kernel = weight.shape
    if source.dtype != weight.dtype or channels != depth * groups or outputs % groups:
        return None
    if bias is not None and (tuple(bias.shape) != (outputs,) or bias.dtype != source.dtype):
        return None
    places = [
        (size[axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    ]
    if min(*places, images) < 1 or min(*stride, *dilation) < 1 or min(padding) < 0:
        return None
    return torch.empty((images, outputs, *places), dtype=source.dtype, device="meta")


def _linear(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """Input, weight and bias in their places, as `nn.Linear` gives them, and fitting."""
    if len(args) != 3 or kwargs:
        return None
    source, weight, bias = args
    if not (_is_plain(source) and _is_plain(weight)) or source.dim() < 1 or weight.dim() != 2:
        return None
    outputs, depth = weight.shape
    if source.dtype != weight.dtype or source.shape[-1] != depth:
        return None
    if bias is not None and (tuple(bias.shape) != (outputs,) or bias.dtype != source.dtype):
        return None
    return torch.empty((*source.shape[:-1], outputs), dtype=source.dtype, device="meta")


def _add(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """The sum of two tensors of one shape."""
    if len(args) != 2 or kwargs or not (_is_plain(args[0]) and _is_plain(args[1])):
        return None
    one, other = args
    return _like(one) if one.shape == other.shape and one.dtype == other.dtype else None


def _is_plain(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.is_contiguous()


_STAND_INS: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], torch.Tensor | None]] = {
    F.batch_norm: _batch_norm,
    torch.conv2d: _conv2d,
    F.linear: _linear,
    torch.add: _add,
    torch.Tensor.add: _add,
}
