"""The units of the residual networks (arXiv 1512.03385): basic and bottleneck. Both end in a ReLU.

`skip` adds the input, through a 1x1 convolution where the shape changes; without it the unit is a plain stack of the same
convolutions. As in torchvision, a bottleneck has its stride in the k x k convolution.
"""

from torch import nn

from models.blocks.convolution import ConvBnAct, Sum, Unit, addend, convolution, rectifier, spatial


def basic_unit(unit: Unit) -> nn.Module:
    """Two k x k convolutions; the first has the stride."""
    first = [*spatial(unit), rectifier(unit.bits.activation)]
    return _with_shortcut([*first, *spatial(unit._replace(inputs=unit.outputs, stride=1))], unit)


def bottleneck_unit(unit: Unit, expansion: int = 4) -> nn.Module:
    """Narrow (1x1) to the `expansion`-th part of the outputs, filter (k x k), widen (1x1)."""
    narrow = max(1, unit.outputs // expansion)
    layers = [
        ConvBnAct(unit.inputs, narrow, 1, bits=unit.bits),
        *spatial(unit._replace(inputs=narrow, outputs=narrow)),
        rectifier(unit.bits.activation),
        convolution(narrow, unit.outputs, 1, bits=unit.bits),
        nn.BatchNorm2d(unit.outputs),
    ]
    return _with_shortcut(layers, unit)


def _with_shortcut(layers: list[nn.Module], unit: Unit) -> nn.Module:
    activation = rectifier(unit.bits.activation)
    if not unit.skip:
        return nn.Sequential(*layers, activation)
    branch = nn.Sequential(*layers, *addend(unit.bits.activation))
    if unit.keeps_shape:
        return Sum(branch, nn.Identity(), activation)
    shortcut = nn.Sequential(
        convolution(unit.inputs, unit.outputs, 1, unit.stride, bits=unit.bits),
        nn.BatchNorm2d(unit.outputs),
        *addend(unit.bits.activation),
    )
    return Sum(branch, shortcut, activation)
