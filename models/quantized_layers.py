"""An ordinary convolution or linear layer -> the same layer with DoReFa quantisers around its arithmetic.

    y = gradient_quantizer(conv(input_quantizer(x), weight_quantizer(weight)))

A quantised layer takes over the parameters of the one that it is made of, under the same names: a checkpoint of the
float network loads into it. The gradient quantiser, the identity forward, stands right behind the sums, where
DoReFa-Net has it (arXiv 1606.06160, algorithm 1): what both backward convolutions read is quantised.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.bits import FULL_PRECISION_BITS, Bits
from models.quantizers import ActivationQuantizer, GradientQuantizer, WeightQuantizer


class QuantConv2d(nn.Conv2d):
    """`conv` with quantised weights and gradients, and, where given, a quantiser of what it reads.

    A layer with a bias has no batch norm behind it, so its quantised weights keep their magnitude.
    """

    def __init__(self, conv: nn.Conv2d, bits: Bits, input_quantizer: ActivationQuantizer | None = None) -> None:
        if conv.padding_mode != "zeros":
            raise ValueError(f"padding_mode of a quantised convolution must be zeros, got {conv.padding_mode!r}")
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            conv.bias is not None,
            device="meta",  # no weights of its own are drawn
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.input_quantizer = input_quantizer
        self.weight_quantizer = WeightQuantizer(bits.weight, keep_magnitude=conv.bias is not None)
        self.gradient_quantizer = gradient_quantizer(bits.gradient)

    def forward(self, input: Tensor) -> Tensor:
        read = input if self.input_quantizer is None else self.input_quantizer(input)
        weight = self.weight_quantizer(self.weight)
        sums = F.conv2d(read, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return sums if self.gradient_quantizer is None else self.gradient_quantizer(sums)


class QuantLinear(nn.Linear):
    """`linear` with quantised weights and gradients, and, where given, a quantiser of what it reads."""

    def __init__(self, linear: nn.Linear, bits: Bits, input_quantizer: ActivationQuantizer | None = None) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.input_quantizer = input_quantizer
        self.weight_quantizer = WeightQuantizer(bits.weight, keep_magnitude=linear.bias is not None)
        self.gradient_quantizer = gradient_quantizer(bits.gradient)

    def forward(self, input: Tensor) -> Tensor:
        read = input if self.input_quantizer is None else self.input_quantizer(input)
        sums = F.linear(read, self.weight_quantizer(self.weight), self.bias)
        return sums if self.gradient_quantizer is None else self.gradient_quantizer(sums)


def gradient_quantizer(bits: int) -> GradientQuantizer | None:
    """A quantiser whose noise is seeded from torch's generator, as weights are drawn; none at 32 bits."""
    if bits == FULL_PRECISION_BITS:
        return None
    return GradientQuantizer(bits, seed=int(torch.randint(2**31, (), device="cpu")))
