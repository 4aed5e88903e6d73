"""The SVHN models A, B, C and D of DoReFa-Net (arXiv 1606.06160, section 3.1): seven convolutions and a linear layer.

    conv 5x5 48 - pool | conv 64 | conv 64 - pool | conv 128 | conv 128 | conv 128 | conv 5x5 512 | fc classes

B, C and D have 50, 75 and 87.5 % fewer channels in every convolution. The order of the layers is that of the authors'
published program: the first convolution, the fourth, the sixth and the seventh are not padded, so that the paper's images
of 40 x 40 end in one place. For other images: an unpadded convolution is padded where fewer than five rows would be left
for the last one, that one covers at most what is left, and where more than one place is left, their mean is classified.

Activations are the paper's, clip(x, 0, 1) in `activation_bits`; first and last layer keep full precision; gradients are
quantised behind every convolution between them.
"""

from typing import Literal

from torch import Tensor, nn

from models.arch import Arch
from models.bits import FULL_PRECISION, FULL_PRECISION_BITS, Bits, require_bits
from models.divisible import scaled
from models.quantized_layers import QuantConv2d
from models.quantizers import ActivationQuantizer

_WIDTHS = {"A": 1.0, "B": 0.5, "C": 0.25, "D": 0.125}
# (channels, kernel, padded, pool behind it)
_LAYERS = (
    (48, 5, False, True),
    (64, 3, True, False),
    (64, 3, True, True),
    (128, 3, False, False),
    (128, 3, True, False),
    (128, 3, False, False),
)
_LAST_CHANNELS, _LAST_KERNEL = 512, 5


class DorefaSvhnArch(Arch, frozen=True, tag="dorefa_svhn", forbid_unknown_fields=True, kw_only=True):
    """variant: the widths. The bits are the paper's (W, A, G). dropout: before the last convolution."""

    image_size_px: int = 40
    variant: Literal["A", "B", "C", "D"] = "A"
    weight_bits: int = 1
    activation_bits: int = 2
    gradient_bits: int = 4
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_bits(
            weight_bits=self.weight_bits, activation_bits=self.activation_bits, gradient_bits=self.gradient_bits
        )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be 0 <= share < 1, got {self.dropout}")

    @property
    def width(self) -> float:
        """The share of model A's channels."""
        return _WIDTHS[self.variant]

    def network(self) -> nn.Module:
        return DorefaSvhn(self)


class DorefaSvhn(nn.Module):
    """(images, in_channels, size, size) in [0, 1] to logits (images, classes)."""

    def __init__(self, arch: DorefaSvhnArch) -> None:
        super().__init__()
        bits = Bits(arch.weight_bits, arch.activation_bits, arch.gradient_bits)
        layers: list[nn.Module] = []
        channels, size_px = arch.in_channels, arch.image_size_px
        for asked, kernel, padded, pools in _LAYERS:
            pads = padded or size_px - kernel + 1 < _LAST_KERNEL
            conv = nn.Conv2d(
                channels, scaled(asked, arch.width), kernel, padding=kernel // 2 if pads else 0, bias=False
            )
            channels, size_px = conv.out_channels, size_px if pads else size_px - kernel + 1
            layers += [quantised(conv, bits if layers else FULL_PRECISION), nn.BatchNorm2d(channels)]
            if pools:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                size_px = -(-size_px // 2)
            layers.append(ActivationQuantizer(arch.activation_bits))
        kernel, outputs = min(_LAST_KERNEL, size_px), scaled(_LAST_CHANNELS, arch.width)
        layers += [nn.Dropout(arch.dropout), quantised(nn.Conv2d(channels, outputs, kernel, bias=False), bits)]
        # What the last layer reads is clipped but not rounded: the last layer keeps full precision.
        layers += [nn.BatchNorm2d(outputs), ActivationQuantizer(FULL_PRECISION_BITS)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(outputs, arch.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(x)))
        return logits


def quantised(conv: nn.Conv2d, bits: Bits) -> nn.Conv2d:
    """`conv` itself in full precision, or with quantisers."""
    return conv if bits.weight == bits.gradient == FULL_PRECISION_BITS else QuantConv2d(conv, bits)
