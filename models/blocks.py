"""The building blocks of the networks: width-parametric, in full precision or quantised.

With 32 bits they are the blocks of the papers: MobileNet v2 (arXiv 1801.04381) and ShuffleNet v2 (arXiv 1807.11164).
With fewer, every tensor that a convolution, a sum or a concatenation reads has passed an `ActivationQuantizer`, so that
the network can run in integers. Each bit width has two formats, `RANGE` wide:

    after a ReLU     0 .. range         the quantiser takes the ReLU's place
    after a linear   -range .. range    where the paper has no activation

DoReFa-Net's own range of 0 .. 1 cuts off a third of what a batch norm gives, and twenty layers of it do not train:
after two short epochs of a network of all blocks, 8-bit activations gave an error of 0.79, with 0 .. 4 of 0.36; none gave
0.38. Few bits need a narrower range, or nearly all values would fall on zero (4 bits: 0.46 with 4, 0.39 with 3).

Shapes are (images, channels, height, width); `stride` halves height and width, rounding up.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.arch import FULL_PRECISION_BITS
from models.quantize import ActivationQuantizer, QuantConv2d


class Bits(NamedTuple):
    """Bit widths of a block's weights and of the tensors that it makes."""

    weight: int = FULL_PRECISION_BITS
    activation: int = FULL_PRECISION_BITS


FULL_PRECISION = Bits()
RANGE = {1: 1.0, 2: 2.0, 3: 3.0, 4: 3.0, 5: 4.0, 6: 4.0, 7: 4.0, 8: 4.0}


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, weight_bits: int = FULL_PRECISION_BITS
) -> nn.Conv2d:
    """A convolution without bias, for a batch norm to follow; padded so that stride 1 keeps the size."""
    padding = kernel // 2
    if weight_bits == FULL_PRECISION_BITS:
        return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return QuantConv2d(inputs, outputs, kernel, weight_bits, stride, padding, groups=groups, bias=False)


def rectifier(activation_bits: int, full_precision: type[nn.Module] = nn.ReLU) -> nn.Module:
    """The non-linearity: `full_precision` at 32 bits, else a quantiser of the positive range."""
    if activation_bits == FULL_PRECISION_BITS:
        return full_precision()
    return ActivationQuantizer(activation_bits, 0.0, RANGE[activation_bits])


def signed_quantizer(activation_bits: int) -> list[nn.Module]:
    """What stands where a paper has no activation: nothing at 32 bits, else a quantiser that keeps the sign."""
    if activation_bits == FULL_PRECISION_BITS:
        return []
    return [ActivationQuantizer(activation_bits, -RANGE[activation_bits], RANGE[activation_bits])]


class ConvBnAct(nn.Sequential):
    """Convolution, batch norm, and a ReLU or, with few bits, an activation quantiser."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        bits: Bits = FULL_PRECISION,
        full_precision: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(
            convolution(inputs, outputs, kernel, stride, groups, bits.weight),
            nn.BatchNorm2d(outputs),
            rectifier(bits.activation, full_precision),
        )


class ChannelShuffle(nn.Module):
    """Deals the channels of `groups` equal groups out in turn: 0 1 2 3 4 5 in 2 groups become 0 3 1 4 2 5."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        dealt = x.view(images, self.groups, channels // self.groups, height, width).transpose(1, 2)
        return dealt.reshape(images, channels, height, width)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class InvertedResidual(nn.Module):
    """MobileNet v2: widen by `expansion` (1x1), filter (depthwise), narrow (1x1, linear), add the input where it fits."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        expansion: int = 4,
        bits: Bits = FULL_PRECISION,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [] if expansion == 1 else [ConvBnAct(inputs, hidden, 1, 1, 1, bits, full_precision=nn.ReLU6)]
        self.branch = nn.Sequential(
            *widen,
            ConvBnAct(hidden, hidden, kernel, stride, hidden, bits, full_precision=nn.ReLU6),
            convolution(hidden, outputs, 1, weight_bits=bits.weight),
            nn.BatchNorm2d(outputs),
            *signed_quantizer(bits.activation),
        )
        self.residual = stride == 1 and inputs == outputs
        # Input and branch share one signed format inside a stage: the sum only has to saturate, as int8 hardware does.
        self.after_sum = nn.Sequential(*(signed_quantizer(bits.activation) if self.residual else []))

    def forward(self, x: Tensor) -> Tensor:
        return self.after_sum(x + self.branch(x)) if self.residual else self.branch(x)


class ShuffleUnit(nn.Module):
    """ShuffleNet v2: half of the channels pass, half are filtered, and a shuffle mixes them.

    With `downsample` (or where the widths differ) both halves are filtered from the whole input, at `stride`. All parts
    are in one format, so that split, concatenation and shuffle only move data. `outputs` must be even.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        downsample: bool = False,
        bits: Bits = FULL_PRECISION,
    ) -> None:
        super().__init__()
        half = outputs // 2
        self.split = not downsample and stride == 1 and inputs == outputs
        entering = half if self.split else inputs
        self.branch = nn.Sequential(
            ConvBnAct(entering, half, 1, 1, 1, bits), *_filter(half, half, kernel, stride, bits)
        )
        self.shortcut = None if self.split else nn.Sequential(*_filter(inputs, half, kernel, stride, bits))
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            kept, filtered = x.chunk(2, dim=1)
        else:
            kept, filtered = self.shortcut(x), x
        return self.shuffle(torch.cat((kept, self.branch(filtered)), dim=1))


def _filter(inputs: int, outputs: int, kernel: int, stride: int, bits: Bits) -> list[nn.Module]:
    """A depthwise convolution without activation, then a 1x1 convolution with one."""
    return [
        convolution(inputs, inputs, kernel, stride, inputs, bits.weight),
        nn.BatchNorm2d(inputs),
        *signed_quantizer(bits.activation),
        ConvBnAct(inputs, outputs, 1, 1, 1, bits),
    ]
