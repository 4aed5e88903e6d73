"""The tail of conv, matmul and eltwise: float32 results -> encoded elements, step by step as in `nas.ir.command`.

Every step rounds to float32 once: it is computed in float64, where a product of two float32 numbers is exact, and then
rounded. So the result does not depend on whether steps are fused into one command or spread over several that store
float32 in between.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.core.errors import ContractError
from nas.ir.command import Activation, Tail
from nas.sim.formats import encode
from nas.sim.memory import Raw
from nas.sim.windows import max_pool

Numbers = NDArray[np.float32]
_Wide = NDArray[np.float64]


def apply_tail(y: Numbers, tail: Tail, table: Numbers | None, factor: Numbers | None, addend: Numbers | None) -> Raw:
    """y: a map (channels, rows, columns) or rows (m, channels). table: (2, channels). factor and addend: of y's shape, or
    with axes of size 1.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if table is not None:
            y = _apply_table(y, table)
        if factor is not None:
            y = y * factor
        if addend is not None:
            y = y + addend
        y = activate(y, tail.activation, tail.low, tail.high)
    raw = encode(y, tail.output)
    if tail.pool is None:
        return raw
    if raw.ndim != 3:
        raise ContractError(f"a fused pool needs a map (channels, rows, columns), got shape {raw.shape}")
    return max_pool(raw, tail.output, tail.pool)


def activate(y: Numbers, activation: Activation, low: float, high: float) -> Numbers:
    """The activation of each number; `low` and `high` belong to "clip", `low` to "leaky_relu" and "elu" (the slope below 0, at 0)."""
    if activation == "none":
        return y
    if activation == "relu":
        return np.maximum(y, np.float32(0))
    if activation == "clip":
        return np.minimum(np.maximum(y, np.float32(low)), np.float32(high))
    if activation == "leaky_relu":
        return np.where(y < 0, y * np.float32(low), y)
    if activation == "elu":
        return np.where(y < 0, (low * np.expm1(y.astype(np.float64))).astype(np.float32), y)
    return _SMOOTH[activation](y.astype(np.float64)).astype(np.float32)


def _apply_table(y: Numbers, table: Numbers) -> Numbers:
    channels = y.shape[0] if y.ndim == 3 else y.shape[-1]
    if table.shape != (2, channels):
        raise ContractError(f"a table for {channels} channels has shape (2, {channels}), got {table.shape}")
    wide = table.astype(np.float64)
    factor, term = wide.reshape(2, channels, 1, 1) if y.ndim == 3 else wide.reshape(2, 1, channels)
    return (y * factor + term).astype(np.float32)


def _sigmoid(y: _Wide) -> _Wide:
    # exp of a positive number could overflow; of a negative one it can't.
    small = np.exp(-np.abs(y))
    return np.where(y >= 0, 1.0, small) / (1.0 + small)


def _hard_sigmoid(y: _Wide) -> _Wide:
    return np.clip(y + 3.0, 0.0, 6.0) / 6.0


def _hard_swish(y: _Wide) -> _Wide:
    return y * _hard_sigmoid(y)


def _silu(y: _Wide) -> _Wide:
    return y * _sigmoid(y)


def _gelu(y: _Wide) -> _Wide:
    distribution: _Wide = ndtr(y)
    return y * distribution


def _gelu_tanh(y: _Wide) -> _Wide:
    # 0.5 (1 + tanh(u)) is sigmoid(2 u).
    return y * _sigmoid(math.sqrt(8 / math.pi) * (y + 0.044715 * y**3))


def _softplus(y: _Wide) -> _Wide:
    return np.logaddexp(0.0, y)


def _mish(y: _Wide) -> _Wide:
    return y * np.tanh(_softplus(y))


def _rsqrt(y: _Wide) -> _Wide:
    return 1.0 / np.sqrt(y)


_SMOOTH: dict[str, Callable[[_Wide], _Wide]] = {
    "sigmoid": _sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "square": np.square,
    "rsqrt": _rsqrt,
    "exp": np.exp,
    "reciprocal": np.reciprocal,
    "sqrt": np.sqrt,
    "log": np.log,
    "abs": np.abs,
    "softplus": _softplus,
    "mish": _mish,
}
