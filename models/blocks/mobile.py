"""The blocks of the MobileNets: v1 (arXiv 1704.04861), v2 (arXiv 1801.04381) and v3 (arXiv 1905.02244).

A v1 unit ends in a ReLU. Those of v2 and v3 end without an activation, so their outputs are signed.
"""

from functools import partial

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from models.bits import FULL_PRECISION_BITS
from models.blocks.convolution import (
    Activation,
    ConvBnAct,
    Unit,
    convolution,
    linear_then,
    rectifier,
    rectifier6,
    signed_quantizer,
)
from models.divisible import divisible
from models.quantized_layers import QuantConv2d
from models.quantizers import ActivationQuantizer

_SQUEEZE = 4  # channels of a block for one of its squeeze
# Of the range of what is averaged: the means of 4, 16 ... codes often lie just halfway between two of them, and float
# rounding would decide; they rarely lie so in another step. Means hardly ever reach the ends of the range.
_MEAN_RANGE = 0.97


def separable_unit(unit: Unit) -> nn.Module:
    """MobileNet v1: filter (depthwise), then combine (1x1), a ReLU after each; `skip` adds the input before the last."""
    depthwise = ConvBnAct(unit.inputs, unit.inputs, unit.kernel, unit.stride, unit.inputs, unit.bits)
    pointwise = convolution(unit.inputs, unit.outputs, 1, bits=unit.bits)
    if unit.skip and unit.keeps_shape:
        return linear_then([depthwise, pointwise, nn.BatchNorm2d(unit.outputs)], unit)
    return nn.Sequential(depthwise, ConvBnAct(unit.inputs, unit.outputs, 1, bits=unit.bits))


class InvertedResidual(nn.Module):
    """Widen by `expansion` (1x1), filter (depthwise), narrow (1x1, linear), add the input where asked and where it fits.

    MobileNet v2 as it stands; v3 has other activations, and in some units weighs the channels before it narrows them.
    """

    def __init__(
        self, unit: Unit, expansion: int = 4, activation: Activation = rectifier6, squeeze_excite: bool = False
    ) -> None:
        super().__init__()
        hidden, bits = unit.inputs * expansion, unit.bits
        widen = [] if expansion == 1 else [ConvBnAct(unit.inputs, hidden, 1, bits=bits, activation=activation)]
        depthwise = ConvBnAct(hidden, hidden, unit.kernel, unit.stride, hidden, bits, activation)
        self.branch = nn.Sequential(
            *widen,
            depthwise,
            *(_squeeze_excite(hidden, unit, activation) if squeeze_excite else []),
            convolution(hidden, unit.outputs, 1, bits=bits),
            nn.BatchNorm2d(unit.outputs),
            *signed_quantizer(bits.activation),
        )
        self.residual = unit.skip and unit.keeps_shape
        # Input and branch share one signed format inside a stage: the sum only has to saturate, as int8 hardware does.
        self.after_sum = nn.Sequential(*(signed_quantizer(bits.activation) if self.residual else []))

    def forward(self, x: Tensor) -> Tensor:
        return self.after_sum(x + self.branch(x)) if self.residual else self.branch(x)


def _squeeze_excite(channels: int, unit: Unit, activation: Activation) -> list[nn.Module]:
    """Each channel weighed by a number of 0 .. 1 that the means of all channels decide; quantised, every read is a grid."""
    bits = unit.bits
    squeezed = divisible(channels // _SQUEEZE)
    gate = SqueezeExcitation(channels, squeezed, partial(rectifier, bits.activation), nn.Hardsigmoid)
    if bits.weight != FULL_PRECISION_BITS or bits.gradient != FULL_PRECISION_BITS:
        gate.fc1, gate.fc2 = QuantConv2d(gate.fc1, bits), QuantConv2d(gate.fc2, bits)
    if bits.activation == FULL_PRECISION_BITS:
        return [gate]
    # What is weighed has the format that the activation gave it, and so has its product with the gate.
    gate.avgpool = nn.Sequential(gate.avgpool, _grid_of(activation, bits.activation, _MEAN_RANGE))
    gate.scale_activation = nn.Sequential(gate.scale_activation, ActivationQuantizer(bits.activation))
    return [gate, _grid_of(activation, bits.activation)]


def _grid_of(activation: Activation, bits: int, share: float = 1.0) -> ActivationQuantizer:
    """The quantiser of an activation, without its curve, over a `share` of its range."""
    quantizer = next(module for module in activation(bits).modules() if isinstance(module, ActivationQuantizer))
    return ActivationQuantizer(bits, share * quantizer.low, share * quantizer.high)
