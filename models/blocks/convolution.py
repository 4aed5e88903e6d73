"""What all blocks are made of: convolutions, activations and sums, width-parametric, in full precision or quantised.

With 32 bits the blocks are those of the papers. With fewer, every tensor that a convolution, a sum or a concatenation
reads has passed an `ActivationQuantizer`, so that the network can run in integers. Each bit width has two formats (see
`models.ranges`): one of positive numbers, whose quantiser takes the ReLU's place, and a symmetric one for what no
activation follows.

Shapes are (images, channels, height, width); `stride` halves height and width, rounding up.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from models.bits import FULL_PRECISION, FULL_PRECISION_BITS, Bits
from models.quantized_layers import QuantConv2d
from models.quantizers import ActivationQuantizer
from models.ranges import RANGE, addend_quantizer, positive_quantizer, symmetric_quantizer

_LOWEST_HARD_SWISH = -0.375  # at x = -1.5
Activation = Callable[[int], nn.Module]  # of its bits


class Unit(NamedTuple):
    """One unit of a network: what goes in and comes out, whatever its block kind.

    skip: add the input to the output, where the kind can. factorised: a k x k convolution as 1 x k and k x 1.
    """

    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    bits: Bits = FULL_PRECISION
    skip: bool = False
    factorised: bool = False

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the input's shape."""
        return self.stride == 1 and self.inputs == self.outputs


def convolution(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    bits: Bits = FULL_PRECISION,
) -> nn.Conv2d:
    """A convolution without bias, for a batch norm to follow; padded so that stride 1 keeps the size."""
    padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return conv if bits.weight == bits.gradient == FULL_PRECISION_BITS else QuantConv2d(conv, bits)


def rectifier(activation_bits: int) -> nn.Module:
    """ReLU, or the quantiser of positive numbers in its place."""
    return nn.ReLU() if activation_bits == FULL_PRECISION_BITS else positive_quantizer(activation_bits)


def rectifier6(activation_bits: int) -> nn.Module:
    """ReLU6, or the quantiser of positive numbers in its place."""
    return nn.ReLU6() if activation_bits == FULL_PRECISION_BITS else positive_quantizer(activation_bits)


def hard_swish(activation_bits: int) -> nn.Module:
    """h-swish, x ReLU6(x + 3) / 6, and with few bits a quantiser of its range behind it.

    Its negative lobe is shallow: with one or two bits no code is spent on it.
    """
    if activation_bits == FULL_PRECISION_BITS:
        return nn.Hardswish()
    low = _LOWEST_HARD_SWISH if activation_bits > 2 else 0.0
    return nn.Sequential(nn.Hardswish(), ActivationQuantizer(activation_bits, low, RANGE[activation_bits]))


def signed_quantizer(activation_bits: int) -> list[nn.Module]:
    """What stands where a paper has no activation: nothing at 32 bits, else a quantiser that keeps the sign."""
    return [] if activation_bits == FULL_PRECISION_BITS else [symmetric_quantizer(activation_bits)]


def addend(activation_bits: int) -> list[nn.Module]:
    """What stands between a branch and its sum with positive numbers: nothing at 32 bits, else a quantiser."""
    return [] if activation_bits == FULL_PRECISION_BITS else [addend_quantizer(activation_bits)]


class ConvBnAct(nn.Sequential):
    """Convolution, batch norm, and an activation or, with few bits, a quantiser in its place."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        bits: Bits = FULL_PRECISION,
        activation: Activation = rectifier,
    ) -> None:
        super().__init__(
            convolution(inputs, outputs, kernel, stride, groups, bits),
            nn.BatchNorm2d(outputs),
            activation(bits.activation),
        )


def spatial(unit: Unit) -> list[nn.Module]:
    """The k x k convolution of `unit` and its batch norm; factorised it is 1 x k and k x 1 with a ReLU between them."""
    if not unit.factorised or unit.kernel == 1:
        conv = convolution(unit.inputs, unit.outputs, unit.kernel, unit.stride, bits=unit.bits)
        return [conv, nn.BatchNorm2d(unit.outputs)]
    return [
        ConvBnAct(unit.inputs, unit.outputs, (1, unit.kernel), (1, unit.stride), bits=unit.bits),
        convolution(unit.outputs, unit.outputs, (unit.kernel, 1), (unit.stride, 1), bits=unit.bits),
        nn.BatchNorm2d(unit.outputs),
    ]


class Sum(nn.Module):
    """after(branch(x) + shortcut(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.after = branch, shortcut, after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(self.branch(x) + self.shortcut(x))
        return y


def linear_then(layers: list[nn.Module], unit: Unit, activation: Activation = rectifier) -> nn.Module:
    """`layers`, which end without activation, then the activation; between them the sum with the input, where asked.

    The sum's input must fit: it is the identity, so `unit` must keep its shape.
    """
    if not (unit.skip and unit.keeps_shape):
        return nn.Sequential(*layers, activation(unit.bits.activation))
    branch = nn.Sequential(*layers, *addend(unit.bits.activation))
    return Sum(branch, nn.Identity(), activation(unit.bits.activation))


def conv_unit(unit: Unit) -> nn.Module:
    """A plain or factorised convolution, batch norm and ReLU; with `skip`, the input is added before the ReLU."""
    return linear_then(spatial(unit), unit)
