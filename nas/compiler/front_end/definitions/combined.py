"""Functions of numbers, and norms and maxima of many, that are a few simpler ones one after the other."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.compiler.front_end.names import torch_functions

Definition = Callable[[], Any]
Dims = int | tuple[int, ...] | list[int] | None

_EUCLIDEAN = 2
_LargestPlace = namedtuple("_LargestPlace", ["values", "indices"])


def _selu(input: Tensor, inplace: bool = False) -> Definition | None:
    """Klambauer et al., arXiv 1706.02515: their two constants, as torch has them."""
    return None if inplace else lambda: F.elu(input, 1.6732632423543772848) * 1.0507009873554804934


def _celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Definition | None:
    return None if inplace or alpha <= 0 else lambda: F.elu(input / alpha) * alpha


def _prelu(input: Tensor, weight: Tensor) -> Definition | None:
    """x + (weight - 1) min(x, 0): of x, only what is negative has another slope."""
    if input.dim() < 2:
        return None
    slope = weight.reshape(-1, *[1] * (input.dim() - 2))
    return lambda: input + input.clamp(max=0.0) * (slope - 1.0)


def _glu(input: Tensor, dim: int = -1) -> Definition:
    def gated() -> Tensor:
        value, gate = input.chunk(2, dim)
        return value * gate.sigmoid()

    return gated


def _softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Definition | None:
    """The activation is that of beta 1; above any threshold that torch is used with, it is x to the last digit."""
    if beta == 1.0 or beta <= 0 or threshold < 20.0:
        return None
    return lambda: F.softplus(input * beta) / beta


def _log_sigmoid(input: Tensor) -> Definition:
    return lambda: -F.softplus(-input)


def _softsign(input: Tensor) -> Definition:
    return lambda: input / (input.abs() + 1.0)


def _tanhshrink(input: Tensor) -> Definition:
    return lambda: input - input.tanh()


def _log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Definition | None:
    if dim is None or dtype is not None:
        return None

    def shifted_less_log() -> Tensor:
        shifted = input - input.amax(dim, keepdim=True)
        result: Tensor = shifted - shifted.exp().sum(dim, keepdim=True).log()
        return result

    return shifted_less_log


def _power(input: Tensor, exponent: Any) -> Definition | None:
    powers: dict[Any, Definition] = {
        0.5: input.sqrt,
        -0.5: input.rsqrt,
        -1: input.reciprocal,
        3: lambda: input.square() * input,
        4: lambda: input.square().square(),
    }
    return powers.get(exponent) if isinstance(exponent, int | float) else None


def _number_over(input: Tensor, other: Any) -> Definition | None:
    return (lambda: input.reciprocal() * other) if isinstance(other, int | float) else None


def _added_product(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1.0) -> Definition:
    return lambda: input + tensor1 * tensor2 * value


def _added_quotient(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1.0) -> Definition:
    return lambda: input + tensor1 / tensor2 * value


def _weighted_mean(input: Tensor, end: Tensor, weight: float | Tensor) -> Definition:
    return lambda: input + (end - input) * weight


def _larger(input: Tensor, other: Tensor) -> Definition | None:
    return (lambda: F.relu(input - other) + other) if _is_whole(input, other) else None


def _smaller(input: Tensor, other: Tensor) -> Definition | None:
    return (lambda: input - F.relu(input - other)) if _is_whole(input, other) else None


def _is_whole(input: Tensor, other: Tensor) -> bool:
    """Whether a function of both has the shape of the first."""
    return torch.broadcast_shapes(input.shape, other.shape) == input.shape


def _largest(input: Tensor, dim: Any = None, keepdim: bool = False) -> Definition | None:
    """The larger of two, or the largest of an axis and its place; who wants the value alone does not wait for the place."""
    if isinstance(dim, Tensor):
        return _larger(input, dim)
    if dim is None:
        return None
    return lambda: _LargestPlace(input.amax(dim, keepdim), input.argmax(dim, keepdim))


def _smallest(input: Tensor, dim: Any = None, keepdim: bool = False) -> Definition | None:
    if isinstance(dim, Tensor):
        return _smaller(input, dim)
    if dim is None:
        return None
    return lambda: _LargestPlace(input.amin(dim, keepdim), input.argmin(dim, keepdim))


def _least(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Definition | None:
    return None if dim is None else lambda: -(-input).amax(dim, keepdim)


def _local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Definition | None:
    """x / (k + alpha mean x^2)^beta, the mean over `size` channels around each: a 1x1 convolution (Krizhevsky et al., 2012)."""
    if input.dim() != 4 or beta not in (0.5, 0.75, 1.0):
        return None
    channels = torch.arange(input.shape[1])
    ahead = channels[None] - channels[:, None]
    near = ((ahead >= -(size // 2)) & (ahead <= (size - 1) // 2)).float() / size

    def over_neighbours() -> Tensor:
        spread = F.conv2d(input.square(), near[:, :, None, None] * alpha) + k
        if beta == 1.0:
            return input * spread.reciprocal()
        root = input * spread.rsqrt()
        return root if beta == 0.5 else root * spread.sqrt().rsqrt()

    return over_neighbours


def _length(
    input: Tensor, p: Any = _EUCLIDEAN, dim: Dims = None, keepdim: bool = False, dtype: Any = None
) -> Definition | None:
    if p not in (_EUCLIDEAN, "fro") or dim is None or dtype is not None:
        return None
    return lambda: input.square().sum(dim, keepdim=keepdim).sqrt()


def _vector_length(
    x: Tensor, ord: Any = _EUCLIDEAN, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Definition | None:
    return _length(x, ord, dim, keepdim, dtype)


def _variance(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Definition | None:
    if dim is None or isinstance(dim, bool):
        return None
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    count = torch.Size(input.shape[axis] for axis in axes).numel()
    less = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    if count <= less:
        return None

    def of_what_is_centred() -> Tensor:
        centred = input - input.mean(axes, keepdim=True)
        return centred.square().sum(axes, keepdim=keepdim) / (count - less)

    return of_what_is_centred


def _deviation(*args: Any, **kwargs: Any) -> Definition | None:
    variance = _variance(*args, **kwargs)
    return None if variance is None else lambda: variance().sqrt()


def _matrix_product(input: Tensor, other: Tensor) -> Definition | None:
    """With one matrix for all: a linear layer, or a product with fewer axes."""
    if other.dim() == 2 < input.dim():
        return lambda: F.linear(input, other.mT)
    if input.dim() == 2 < other.dim():
        return lambda: F.linear(other.mT, input).mT
    if input.dim() == other.dim() == 4 and other.shape[1] == 1 < input.shape[1] and other.shape[0] == input.shape[0]:
        heads = input.shape[1:3]  # one matrix for all heads: their rows are those of one head
        return lambda: (input.flatten(1, 2) @ other.flatten(0, 1)).unflatten(1, heads)
    return None


MAKERS: dict[Any, Callable[..., Definition | None]] = {
    F.selu: _selu,
    F.celu: _celu,
    F.glu: _glu,
    F.local_response_norm: _local_response_norm,
    F.logsigmoid: _log_sigmoid,
    F.softplus: _softplus,
    F.softsign: _softsign,
    F.tanhshrink: _tanhshrink,
    **dict.fromkeys([F.prelu, *torch_functions("prelu")], _prelu),
    **dict.fromkeys([F.log_softmax, *torch_functions("log_softmax", "Tensor.log_softmax")], _log_softmax),
    **dict.fromkeys(torch_functions("pow", "Tensor.pow", "Tensor.__pow__"), _power),
    **dict.fromkeys(torch_functions("Tensor.__rtruediv__", "Tensor.__rdiv__"), _number_over),
    **dict.fromkeys(torch_functions("addcmul", "Tensor.addcmul"), _added_product),
    **dict.fromkeys(torch_functions("addcdiv", "Tensor.addcdiv"), _added_quotient),
    **dict.fromkeys(torch_functions("lerp", "Tensor.lerp"), _weighted_mean),
    **dict.fromkeys(torch_functions("maximum", "Tensor.maximum"), _larger),
    **dict.fromkeys(torch_functions("minimum", "Tensor.minimum"), _smaller),
    **dict.fromkeys(torch_functions("max", "Tensor.max"), _largest),
    **dict.fromkeys(torch_functions("min", "Tensor.min"), _smallest),
    **dict.fromkeys(torch_functions("amin", "Tensor.amin"), _least),
    **dict.fromkeys([*torch_functions("norm", "Tensor.norm"), torch.functional.norm], _length),
    **dict.fromkeys(torch_functions("linalg.vector_norm"), _vector_length),
    **dict.fromkeys(torch_functions("var", "Tensor.var"), _variance),
    **dict.fromkeys(torch_functions("std", "Tensor.std"), _deviation),
    **dict.fromkeys(torch_functions("matmul", "Tensor.matmul", "Tensor.__matmul__"), _matrix_product),
}
