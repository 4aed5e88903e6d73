"""Lowerings of pools and of means over whole axes: every one becomes a sliding window that engines know."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F

from nas.compiler.front_end.lowerings.builder import NetworkBuilder
from nas.compiler.front_end.lowerings.frames import MAP_RANK, map_sides
from nas.compiler.front_end.lowerings.layers import Padding, padding_of
from nas.compiler.front_end.lowerings.pointwise import scalar
from nas.compiler.front_end.lowerings.resample import uneven_means
from nas.compiler.front_end.lowerings.shapes import identity
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.sides import pair
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments
from nas.ir.command import Pool, Window
from nas.ir.tensor import FLOAT32

Kind = Literal["max", "mean"]


def _max_pool(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(call, "input kernel_size stride=None padding=0 dilation=1 ceil_mode=False return_indices=False")
    window = None if a.return_indices else _window(call, a, pair(a.dilation))
    if window is None:
        return False
    _apply(builder, call.layer, a.input, call.outputs[0], Pool("max", window))
    return True


def _avg_pool(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(
        call, "input kernel_size stride=None padding=0 ceil_mode=False count_include_pad=True divisor_override=None"
    )
    window = _window(call, a, (1, 1))
    if window is None:
        return False
    counts_padding = bool(a.count_include_pad) or a.divisor_override is not None
    given = padding_of(a.padding, window.kernel, (1, 1))
    if window.padding != given and counts_padding and a.divisor_override is None:
        # The places that ceil_mode adds never count, those of the padding do: an engine has one answer for both.
        if any(given):
            return False
        counts_padding = False
    output = call.outputs[0]
    mean = output if a.divisor_override is None else builder.new_value(output.shape)
    _apply(builder, call.layer, a.input, mean, Pool("mean", window, counts_padding))
    if a.divisor_override is not None:
        gain = window.kernel[0] * window.kernel[1] / a.divisor_override
        scalar(builder, mean, output, gain, 0.0, call.layer)
    return True


def _window(call: Call, a: Arguments, dilation: tuple[int, int]) -> Window | None:
    """The window of a pool over a map, or over a sequence, whose one axis lies along the rows."""
    if not _has_images(call, a.input):
        return None
    is_map = len(a.input.shape) == MAP_RANK
    kernel = pair(a.kernel_size) if is_map else (pair(a.kernel_size)[0], 1)
    stride = kernel if a.stride in (None, (), []) else pair(a.stride) if is_map else (pair(a.stride)[0], 1)
    padding = padding_of(a.padding if is_map else (pair(a.padding)[0], 0), kernel, dilation)
    size = a.input.shape[2:] if is_map else (a.input.shape[2], 1)
    expected = call.outputs[0].shape[2:] if is_map else (call.outputs[0].shape[2], 1)
    window = Window(kernel, stride, padding, dilation)
    if window.output_size(*size) == expected:
        return window
    needs = [  # ceil_mode: the last window reaches further out
        (count - 1) * step + gap * (reach - 1) + 1 - length - front
        for count, step, gap, reach, length, front in zip(
            expected, stride, dilation, kernel, size, padding[:2], strict=True
        )
    ]
    further: Padding = (padding[0], padding[1], max(needs[0], 0), max(needs[1], 0))
    return Window(kernel, stride, further, dilation)


def _has_images(call: Call, value: object) -> bool:
    """Whether the first axis are images: torch also pools one map, or sequence, of which that is the channels."""
    return isinstance(value, Value) and len(value.shape) == MAP_RANK - (call.function in _OF_SEQUENCES)


def _apply(builder: NetworkBuilder, layer: str, value: Value, output: Value, pool: Pool) -> None:
    shape = value.shape if len(value.shape) == MAP_RANK else (*value.shape, 1)
    source = builder.stored(builder.look(value, layer), shape, layer)
    name = pooled(builder, layer, source, pool)
    builder.bind_as(output, name)


def pooled(builder: NetworkBuilder, layer: str, source: str, pool: Pool) -> str:
    """The pool of a stored map, whose formats take the place of those of `pool`."""
    tensor = builder.tensors[source]
    output = tensor.format if pool.kind == "max" else FLOAT32
    function = Pool(pool.kind, pool.window, pool.count_padding, tensor.format, output)
    shape = (*tensor.shape[:-2], *pool.window.output_size(*tensor.shape[-2:]))
    return builder.apply(layer, function, (source,), shape, output)


def over_rows(builder: NetworkBuilder, layer: str, source: str, kind: Kind) -> str:
    """The mean or maximum over all rows of each column of a stored map."""
    whole = (builder.tensors[source].shape[-2], 1)
    return pooled(builder, layer, source, Pool(kind, Window(whole, whole)))


def _adaptive(kind: Kind) -> Callable[[NetworkBuilder, Call], bool]:
    def lower(builder: NetworkBuilder, call: Call) -> bool:
        a = Arguments(call, "input output_size return_indices=False")
        if a.return_indices or not _has_images(call, a.input):
            return False
        have, want = a.input.shape[2:], call.outputs[0].shape[2:]
        if have == want:
            return identity(builder, call)
        if any(size % count for size, count in zip(have, want, strict=True)):
            return kind == "mean" and uneven_means(builder, call)
        kernel = [size // count for size, count in zip(have, want, strict=True)]
        window = Window((kernel[0], kernel[1] if len(kernel) > 1 else 1), (kernel[0], kernel[-1]))
        if len(kernel) == 1:
            window = Window((kernel[0], 1), (kernel[0], 1))
        _apply(builder, call.layer, a.input, call.outputs[0], Pool(kind, window))
        return True

    return lower


def _reduce(kind: Kind, is_sum: bool = False) -> Callable[[NetworkBuilder, Call], bool]:
    """The mean, sum or maximum over some axes, which become the rows and columns of a map."""

    def lower(builder: NetworkBuilder, call: Call) -> bool:
        a = Arguments(call, "input dim=None keepdim=False dtype=None")
        if a.dim is None or not isinstance(a.input, Value) or a.dtype is not None:
            return False
        rank = len(a.input.shape)
        axes = sorted(axis % rank for axis in (a.dim if isinstance(a.dim, tuple | list) else (a.dim,)))
        if not axes or axes[0] == 0:
            return False
        kept = [axis for axis in range(1, rank) if axis not in axes]
        look = builder.look(a.input, call.layer).permuted([axis - 1 for axis in (*kept, *axes)])
        rows, columns = map_sides([a.input.shape[axis] for axis in axes])
        channels = 1
        for axis in kept:
            channels *= a.input.shape[axis]
        source = builder.stored(look, (a.input.shape[0], channels, rows, columns), call.layer)
        name = pooled(builder, call.layer, source, Pool(kind, Window((rows, columns), (rows, columns))))
        output = call.outputs[0]
        mean = builder.new_value(output.shape) if is_sum else output
        builder.bind_as(mean, name)
        if is_sum:
            scalar(builder, mean, output, float(rows * columns), 0.0, call.layer)
        return True

    return lower


_MAX_POOLS_1D = torch_functions("nn.functional.max_pool1d", "max_pool1d", "nn.functional._max_pool1d")
_MEAN_POOLS_1D = [F.avg_pool1d, torch.avg_pool1d]
_ADAPTIVE_1D = [F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d]
_OF_SEQUENCES = frozenset([*_MAX_POOLS_1D, *_MEAN_POOLS_1D, *_ADAPTIVE_1D])
MAX_POOLS = [F.max_pool2d, *torch_functions("max_pool2d", "nn.functional._max_pool2d"), *_MAX_POOLS_1D]

_TABLE: list[tuple[Callable[[NetworkBuilder, Call], bool], list[Any]]] = [
    (_max_pool, MAX_POOLS),
    (_avg_pool, [F.avg_pool2d, *_MEAN_POOLS_1D]),
    (_adaptive("mean"), [F.adaptive_avg_pool2d, *_ADAPTIVE_1D]),
    (_adaptive("max"), torch_functions("nn.functional._adaptive_max_pool2d", "nn.functional.adaptive_max_pool2d")),
    (_reduce("mean"), torch_functions("mean", "Tensor.mean")),
    (_reduce("mean", is_sum=True), torch_functions("sum", "Tensor.sum")),
    (_reduce("max"), torch_functions("amax", "Tensor.amax")),
]

LOWERINGS: dict[Any, Callable[[NetworkBuilder, Call], bool]] = {
    function: lowering for lowering, functions in _TABLE for function in functions
}
