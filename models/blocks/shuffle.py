"""The units of the ShuffleNets: v1 (arXiv 1707.01083) and v2 (arXiv 1807.11164). Both end in positive numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.bits import Bits
from models.blocks.convolution import ConvBnAct, Sum, Unit, addend, convolution, rectifier, signed_quantizer

_BOTTLENECK = 4  # output channels of a v1 unit for one of its depthwise convolution


class ChannelShuffle(nn.Module):
    """Deals the channels of `groups` equal groups out in turn: 0 1 2 3 4 5 in 2 groups become 0 3 1 4 2 5."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return _shuffled(x, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class ShuffledConcat(nn.Module):
    """The channels of two tensors of one shape, dealt out in turn."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        if _channels_last(first) and _channels_last(second):
            return _dealt((first, second))
        return _shuffled(torch.cat((first, second), dim=1), 2)


def _shuffled(x: Tensor, groups: int) -> Tensor:
    if _channels_last(x):
        return _dealt(x.chunk(groups, dim=1))
    images, channels, height, width = x.shape
    dealt = x.view(images, groups, channels // groups, height, width).transpose(1, 2)
    return dealt.reshape(images, channels, height, width)


def _channels_last(x: Tensor) -> bool:
    """In memory too, and not also the other way round."""
    return x.stride(1) == 1 and x.shape[1] > 1 and x.shape[2] * x.shape[3] > 1


def _dealt(groups: Sequence[Tensor]) -> Tensor:
    """Channels last stay so. In the other layout all layers that follow would convert their input and its gradient, which
    takes longer than the layers themselves.
    """
    dealt: Tensor = _Dealt.apply(*groups)  # type: ignore[no-untyped-call]
    return dealt


class _Dealt(torch.autograd.Function):
    """A stack of the groups behind the channels, whose gradients lie as the groups do.

    With `torch.stack` the gradients are every other number of memory, which is slow to read for all that comes before. Two
    halves of 48 channels of 8x8, one of which is a ReLU's, batch 128, bfloat16, forward and back: 3.2 and 1.1 ms.
    """

    @staticmethod
    def forward(ctx: Any, *groups: Tensor) -> Tensor:
        ctx.groups = len(groups)
        images, channels, height, width = groups[0].shape
        dealt = groups[0].new_empty(images, height, width, channels, len(groups))
        for number, group in enumerate(groups):
            dealt[..., number] = group.permute(0, 2, 3, 1)
        return dealt.flatten(-2).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        dealt = gradient.permute(0, 2, 3, 1).unflatten(-1, (-1, ctx.groups))
        return tuple(dealt[..., number].contiguous().permute(0, 3, 1, 2) for number in range(ctx.groups))


class ShuffleUnit(nn.Module):
    """ShuffleNet v2: half of the channels pass, half are filtered, and a shuffle mixes them.

    With `downsample` (or where the widths differ) both halves are filtered from the whole input, at the stride. All parts
    are in one format, so that split, concatenation and shuffle only move data. `unit.outputs` must be even.
    """

    def __init__(self, unit: Unit, downsample: bool = False) -> None:
        super().__init__()
        half = unit.outputs // 2
        self.split = not downsample and unit.keeps_shape
        entering = half if self.split else unit.inputs
        self.branch = nn.Sequential(
            ConvBnAct(entering, half, 1, bits=unit.bits), *_filter(half, half, unit.kernel, unit.stride, unit.bits)
        )
        self.shortcut = None
        if not self.split:
            self.shortcut = nn.Sequential(*_filter(unit.inputs, half, unit.kernel, unit.stride, unit.bits))
        self.shuffle = ShuffledConcat()

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            kept, filtered = x.chunk(2, dim=1)
        else:
            kept, filtered = self.shortcut(x), x
        return self.shuffle(kept, self.branch(filtered))


def _filter(inputs: int, outputs: int, kernel: int, stride: int, bits: Bits) -> list[nn.Module]:
    """A depthwise convolution without activation, then a 1x1 convolution with one."""
    return [
        convolution(inputs, inputs, kernel, stride, inputs, bits),
        nn.BatchNorm2d(inputs),
        *signed_quantizer(bits.activation),
        ConvBnAct(inputs, outputs, 1, bits=bits),
    ]


class Concat(nn.Module):
    """The channels of shortcut(x), then those of branch(x)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.shortcut(x), self.branch(x)), dim=1)


def group_shuffle_unit(unit: Unit, groups: int, grouped_input: bool = True) -> nn.Module:
    """ShuffleNet v1: narrow (1x1, grouped), shuffle, filter (depthwise), widen (1x1, grouped), add the input, ReLU.

    Where stride or width change, the paper widens by concatenation: a mean of 3x3 passes beside the branch, which makes
    the channels that are missing. A unit that does not widen, which the paper has none of, projects the mean instead and
    adds it. `groups` must divide a quarter of `unit.outputs`. grouped_input: False for the paper's first unit, which
    reads few channels; what `groups` does not divide is never grouped.
    """
    bits, narrow = unit.bits, unit.outputs // _BOTTLENECK
    missing = unit.outputs - unit.inputs
    widens = not unit.keeps_shape and missing > 0 and missing % groups == 0
    entering = groups if grouped_input and unit.inputs % groups == 0 else 1
    made = missing if widens else unit.outputs
    branch: list[nn.Module] = [
        ConvBnAct(unit.inputs, narrow, 1, 1, entering, bits),
        ChannelShuffle(groups),
        convolution(narrow, narrow, unit.kernel, unit.stride, narrow, bits),
        nn.BatchNorm2d(narrow),
        *signed_quantizer(bits.activation),
        convolution(narrow, made, 1, 1, groups, bits),
        nn.BatchNorm2d(made),
    ]
    mean = nn.AvgPool2d(3, unit.stride, padding=1)
    if widens:
        # A ReLU of both parts is the ReLU of their concatenation; here each part is a grid before they meet.
        branch.append(rectifier(bits.activation))
        return Concat(nn.Sequential(*branch), nn.Sequential(mean, rectifier(bits.activation)))
    shortcut: list[nn.Module] = []
    if not unit.keeps_shape:
        project = convolution(unit.inputs, unit.outputs, 1, bits=bits)
        shortcut = [mean, *signed_quantizer(bits.activation), project, nn.BatchNorm2d(unit.outputs)]
        shortcut += addend(bits.activation)
    branch += addend(bits.activation)
    return Sum(nn.Sequential(*branch), nn.Sequential(*shortcut), rectifier(bits.activation))
