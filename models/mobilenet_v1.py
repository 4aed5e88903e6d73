"""MobileNet v1 (arXiv 1704.04861): a convolution, thirteen depthwise separable ones, the mean, a linear layer.

Any width multiplier; channels are rounded to multiples of eight. Small images: see `models.small_images`.
"""

from torch import Tensor, nn

from models.arch import Arch, require_width
from models.blocks.convolution import ConvBnAct, Unit
from models.blocks.mobile import separable_unit
from models.divisible import divisible
from models.small_images import is_small

_STEM = 32
_UNITS = (  # (channels, stride)
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


class MobileNetV1Arch(Arch, frozen=True, tag="mobilenet_v1", forbid_unknown_fields=True, kw_only=True):
    """width: multiplies all channels. dropout: before the classifier."""

    width: float = 1.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width, self.dropout)

    def network(self) -> nn.Module:
        return MobileNetV1(self)


class MobileNetV1(nn.Module):
    """(images, in_channels, size, size) to logits (images, classes)."""

    def __init__(self, arch: MobileNetV1Arch) -> None:
        super().__init__()
        channels = divisible(_STEM * arch.width)
        stride = 1 if is_small(arch.image_size_px) else 2
        self.features = nn.Sequential(ConvBnAct(arch.in_channels, channels, stride=stride))
        for asked, stride in _UNITS:
            outputs = divisible(asked * arch.width)
            self.features.append(separable_unit(Unit(channels, outputs, stride=stride)))
            channels = outputs
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(nn.Dropout(arch.dropout), nn.Linear(channels, arch.classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(x)))
        return logits
