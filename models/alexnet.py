"""AlexNet (in one column, arXiv 1404.5997): torchvision's layers, for any width, channels in and small images.

At width 1 it has torchvision's names and weights. Small images: see `models.small_images`.
"""

from torch import Tensor, nn

from models.arch import Arch, require_image, require_width
from models.divisible import scaled
from models.small_images import fitted_stem, stem_pool

_PLACES = 6  # rows and columns of what the classifier reads, whatever the image
_SMALLEST_IMAGE_PX = 7


class AlexNetArch(Arch, frozen=True, tag="alexnet", forbid_unknown_fields=True, kw_only=True):
    """width: multiplies all channels, and the hidden linear layers. dropout: before the hidden linear layers."""

    width: float = 1.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width, self.dropout)
        require_image(self.image_size_px, _SMALLEST_IMAGE_PX)

    def network(self) -> nn.Module:
        return AlexNet(self)


class AlexNet(nn.Module):
    """(images, in_channels, size, size) to logits (images, classes)."""

    def __init__(self, arch: AlexNetArch) -> None:
        super().__init__()
        first, second, third, fourth, hidden = (scaled(each, arch.width) for each in (64, 192, 384, 256, 4096))
        self.features = nn.Sequential(
            fitted_stem(nn.Conv2d(3, first, 11, 4, 2), arch.in_channels, arch.image_size_px),
            nn.ReLU(inplace=True),
            stem_pool(nn.MaxPool2d(3, 2), arch.image_size_px),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(third, fourth, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(fourth, fourth, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(_PLACES)
        self.classifier = nn.Sequential(
            nn.Dropout(arch.dropout),
            nn.Linear(fourth * _PLACES**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(arch.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, arch.classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits
