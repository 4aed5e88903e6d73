"""Functions that only move elements, or copy some of them: shuffles of channels and pixels, borders, copies, windows."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.sides import pair, per_axis

Definition = Callable[[], Tensor]

_MOST_RUNS = 64  # of places one behind the other, each of which is copied by itself


def _channel_shuffle(input: Tensor, groups: int) -> Definition:
    return lambda: input.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def _pixel_shuffle(input: Tensor, upscale_factor: int) -> Definition | None:
    factors = (upscale_factor, upscale_factor)
    return (lambda: interleaved(input.unflatten(1, (-1, *factors)), 2)) if input.dim() == 4 else None


def interleaved(phases: Tensor, sides: int) -> Tensor:
    """(images, channels, a factor for each side, sides) -> (images, channels, sides x factors): phases between one another."""
    pairs = [axis for side in range(2, 2 + sides) for axis in (side + sides, side)]
    scaled = [phases.shape[side] * phases.shape[side + sides] for side in range(2, 2 + sides)]
    return phases.permute(0, 1, *pairs).reshape(*phases.shape[:2], *scaled)


def _nearest(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *args: Any, **kwargs: Any
) -> Definition | None:
    """Each place a whole number of times."""
    del args, kwargs
    sides = input.shape[2:]
    if size is None:
        factors = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor,) * len(sides)
    else:
        factors = tuple(after / before for after, before in zip(per_axis(size, len(sides)), sides, strict=True))
    if not mode.startswith("nearest") or any(factor < 1 or factor != int(factor) for factor in factors):
        return None
    times = [int(factor) for factor in factors]
    return lambda: interleaved(torch.stack([input] * math.prod(times), 2).unflatten(2, times), len(sides))


def _pixel_unshuffle(input: Tensor, downscale_factor: int) -> Definition | None:
    if input.dim() != 4:
        return None
    images, channels, height, width = input.shape
    factor = downscale_factor

    def split() -> Tensor:
        blocks = input.reshape(images, channels, height // factor, factor, width // factor, factor)
        return blocks.permute(0, 1, 3, 5, 2, 4).reshape(images, -1, height // factor, width // factor)

    return split


def _pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Definition | None:
    """Borders made of what is inside, or less than that; constant ones stay, for convolutions take zeros as they are."""
    places_of = _BORDERS.get(mode)
    if mode == "constant" and min(pad) < 0:
        return lambda: F.pad(_cropped(input, pad), [max(0, each) for each in pad], mode, value)
    if places_of is None or min(pad) < 0:
        return None

    def joined() -> Tensor:
        result = input
        for axis, before, after in zip(range(input.dim() - 1, 0, -1), pad[::2], pad[1::2], strict=False):
            size = result.shape[axis]
            result = _taken(result, axis, [places_of(place, size) for place in range(-before, size + after)])
        return result

    return joined


_BORDERS: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda place, size: -place if place < 0 else 2 * (size - 1) - place if place >= size else place,
    "replicate": lambda place, size: min(max(place, 0), size - 1),
    "circular": lambda place, size: place % size,
}


def _cropped(input: Tensor, pad: Sequence[int]) -> Tensor:
    result = input
    for axis, before, after in zip(range(input.dim() - 1, 0, -1), pad[::2], pad[1::2], strict=False):
        left_out = max(0, -before), max(0, -after)
        if any(left_out):
            result = result.narrow(axis, left_out[0], result.shape[axis] - sum(left_out))
    return result


def _taken(input: Tensor, axis: int, places: Sequence[int]) -> Tensor:
    """These places along an axis, in this order."""
    return torch.cat([input.narrow(axis, *run) for run in _runs(places)], axis)


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """(start, length) of what lies one behind the other."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and sum(runs[-1]) == place:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((place, 1))
    return runs


def _flip(input: Tensor, *dims: Any) -> Definition | None:
    axes = [axis % input.dim() for axis in (dims[0] if isinstance(dims[0], tuple | list) else dims)]

    def backwards() -> Tensor:
        result = input
        for axis in axes:
            result = _taken(result, axis, range(input.shape[axis] - 1, -1, -1))
        return result

    return None if 0 in axes else backwards


def _repeat(input: Tensor, *sizes: Any) -> Definition | None:
    times = sizes[0] if isinstance(sizes[0], tuple | list) else sizes
    if len(times) != input.dim() or times[0] != 1 or min(times) < 1:
        return None

    def copies() -> Tensor:
        result = input
        for axis, count in enumerate(times):
            result = torch.cat([result] * count, axis) if count > 1 else result
        return result

    return copies


def _repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None) -> Definition | None:
    axis = 0 if dim is None else dim % input.dim()
    if axis and isinstance(repeats, Tensor) and repeats.device.type != "meta":
        places = torch.arange(input.shape[axis]).repeat_interleave(repeats)
        return lambda: torch.index_select(input, axis, places)
    if not isinstance(repeats, int) or axis == 0:
        return None
    return lambda: torch.stack([input] * repeats, axis + 1).flatten(axis, axis + 1)


def _cat(tensors: Any, dim: int = 0) -> Definition | None:
    """What has no elements adds nothing."""
    kept = [each for each in tensors if each.numel()]
    return (lambda: torch.cat(kept, dim)) if 0 < len(kept) < len(tensors) else None


def _index_select(input: Tensor, dim: int, index: Tensor) -> Definition | None:
    axis = dim % input.dim()
    if axis == 0 or index.device.type == "meta":
        return None
    places = [int(place) for place in index]
    return (lambda: _taken(input, axis, places)) if len(_runs(places)) <= _MOST_RUNS else None


def _index(input: Tensor, index: Any) -> Definition | None:
    """One list of places along one axis, and nothing else."""
    each = index if isinstance(index, tuple) else (index,)
    lists = [axis for axis, part in enumerate(each) if isinstance(part, list | Tensor)]
    others = [part for part in each if not isinstance(part, list | Tensor)]
    if len(lists) != 1 or any(not isinstance(part, slice) or part != slice(None) for part in others):
        return None
    places = torch.as_tensor(each[lists[0]])
    if places.dim() != 1 or places.dtype != torch.int64 or places.device.type == "meta":
        return None
    return _index_select(input, lists[0], places % input.shape[lists[0]])


def _unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Definition | None:
    """A convolution of each channel, whose weights take one place of the window each."""
    if input.dim() != 4:
        return None
    kernel, channels = pair(kernel_size), input.shape[1]

    def windows() -> Tensor:
        taken = F.conv2d(input, _each_place(kernel, channels), None, stride, padding, dilation, channels)
        return taken.flatten(2)

    return windows


def _fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Definition | None:
    """What windows have is added up where they lie: a transposed convolution of each channel."""
    size, kernel, step, border = (pair(each) for each in (output_size, kernel_size, stride, padding))
    if input.dim() != 3 or pair(dilation) != (1, 1):
        return None
    counts = [(size[axis] + 2 * border[axis] - kernel[axis]) // step[axis] + 1 for axis in range(2)]
    rest = [(size[axis] + 2 * border[axis] - kernel[axis]) % step[axis] for axis in range(2)]
    channels = input.shape[1] // math.prod(kernel)

    def summed() -> Tensor:
        weight = _each_place(kernel, channels)
        return F.conv_transpose2d(input.unflatten(2, counts), weight, None, step, border, rest, channels)

    return summed


def _each_place(kernel: tuple[int, int], channels: int) -> Tensor:
    """(channels x places, 1, *kernel): for every channel the weights that take one place each."""
    places = math.prod(kernel)
    return torch.eye(places).reshape(places, 1, *kernel).repeat(channels, 1, 1, 1)


MAKERS: dict[Any, Callable[..., Definition | None]] = {
    F.pad: _pad,
    F.interpolate: _nearest,
    F.unfold: _unfold,
    F.fold: _fold,
    **dict.fromkeys(torch_functions("channel_shuffle", "nn.functional.channel_shuffle"), _channel_shuffle),
    **dict.fromkeys(torch_functions("pixel_shuffle", "nn.functional.pixel_shuffle"), _pixel_shuffle),
    **dict.fromkeys(torch_functions("pixel_unshuffle", "nn.functional.pixel_unshuffle"), _pixel_unshuffle),
    **dict.fromkeys(torch_functions("flip", "Tensor.flip"), _flip),
    **dict.fromkeys(torch_functions("Tensor.repeat"), _repeat),
    **dict.fromkeys(torch_functions("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(torch_functions("repeat_interleave", "Tensor.repeat_interleave"), _repeat_interleave),
    **dict.fromkeys(torch_functions("index_select", "Tensor.index_select"), _index_select),
    torch.Tensor.__getitem__: _index,
}
