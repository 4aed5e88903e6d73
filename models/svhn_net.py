"""The plain network of the channel-quota experiment: four convolutions, one hidden linear layer, one classifier.

    conv 3x3 96 - pool | conv 3x3 128 - pool | conv 3x3 128 | conv 3x3 256 - pool | fc 512 | fc classes

Every layer but the last has a batch norm and a ReLU (or an activation quantiser); pools are maxima of 2x2. At the
default widths and 3 x 32 x 32 images: 61.4 million multiply-adds. DoReFa-Net's rule holds: the first and the last layer
keep full precision unless the `edge_` bits say otherwise.
"""

from collections.abc import Mapping

import msgspec
from torch import Tensor, nn

from models.arch import Arch, require_image, require_positive
from models.bits import FULL_PRECISION_BITS, Bits, require_bits
from models.blocks.convolution import ConvBnAct, convolution, rectifier
from models.quantized_layers import QuantLinear
from models.quantizers import ActivationQuantizer

_POOLS = (True, True, False, True)
_SMALLEST_IMAGE_PX = 8


class SvhnNetArch(Arch, frozen=True, tag="svhn_net", forbid_unknown_fields=True, kw_only=True):
    """Widths of the four convolutions and of the hidden linear layer, and the bits.

    edge_weight_bits: first and last layer. edge_activation_bits: the input image, and what the last layer reads.
    """

    widths: tuple[int, int, int, int] = (96, 128, 128, 256)
    fc_width: int = 512
    weight_bits: int = FULL_PRECISION_BITS
    activation_bits: int = FULL_PRECISION_BITS
    gradient_bits: int = FULL_PRECISION_BITS
    edge_weight_bits: int = FULL_PRECISION_BITS
    edge_activation_bits: int = FULL_PRECISION_BITS

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(fc_width=self.fc_width, **{f"widths[{i}]": width for i, width in enumerate(self.widths)})
        require_bits(
            weight_bits=self.weight_bits, activation_bits=self.activation_bits, gradient_bits=self.gradient_bits
        )
        require_bits(edge_weight_bits=self.edge_weight_bits, edge_activation_bits=self.edge_activation_bits)
        require_image(self.image_size_px, _SMALLEST_IMAGE_PX)

    def network(self) -> nn.Module:
        return SvhnNet(self)

    def narrowed(self, channels: Mapping[str, int]) -> "SvhnNetArch":
        starts = [f"features.{index + sum(_POOLS[:index])}." for index in range(len(self.widths))]
        found = {
            start: count for name, count in channels.items() for start in (*starts, "hidden.") if name.startswith(start)
        }
        widths = tuple(found.get(start, width) for start, width in zip(starts, self.widths, strict=True))
        return msgspec.structs.replace(self, widths=widths, fc_width=found.get("hidden.", self.fc_width))


class SvhnNet(nn.Module):
    """(images, in_channels, size, size) in [0, 1] to logits (images, classes)."""

    def __init__(self, arch: SvhnNetArch) -> None:
        super().__init__()
        self.arch = arch
        quantised_image = arch.edge_activation_bits != FULL_PRECISION_BITS
        self.image = ActivationQuantizer(arch.edge_activation_bits) if quantised_image else None
        layers: list[nn.Module] = []
        width, size_px = arch.in_channels, arch.image_size_px
        for index, (outputs, pools) in enumerate(zip(arch.widths, _POOLS, strict=True)):
            edge = Bits(arch.edge_weight_bits, arch.activation_bits)
            bits = Bits(arch.weight_bits, arch.activation_bits, arch.gradient_bits) if index else edge
            if pools:
                # The largest of four first: the same values, and a quarter as many to rectify.
                layers.append(nn.Sequential(convolution(width, outputs, 3, bits=bits), nn.BatchNorm2d(outputs)))
                layers.append(nn.Sequential(nn.MaxPool2d(2), rectifier(bits.activation)))
                size_px //= 2
            else:
                layers.append(ConvBnAct(width, outputs, bits=bits))
            width = outputs
        self.features = nn.Sequential(*layers, nn.Flatten())
        # What the classifier reads is edge, where the edge is quantised at all.
        hidden_bits = arch.edge_activation_bits if quantised_image else arch.activation_bits
        self.hidden = nn.Sequential(
            linear(width * size_px**2, arch.fc_width, Bits(arch.weight_bits, gradient=arch.gradient_bits), bias=False),
            nn.BatchNorm1d(arch.fc_width),
            rectifier(hidden_bits),
        )
        self.classifier = linear(arch.fc_width, arch.classes, Bits(arch.edge_weight_bits))

    def forward(self, x: Tensor) -> Tensor:
        if self.image is not None:
            x = self.image(x)
        logits: Tensor = self.classifier(self.hidden(self.features(x)))
        return logits


def linear(inputs: int, outputs: int, bits: Bits, bias: bool = True) -> nn.Linear:
    """A linear layer, with quantised weights and gradients where `bits` ask for them."""
    layer = nn.Linear(inputs, outputs, bias)
    return layer if bits.weight == bits.gradient == FULL_PRECISION_BITS else QuantLinear(layer, bits)
