"""MobileNet v2 (arXiv 1801.04381): torchvision's, for any number of channels in and small images.

Its weights load from torchvision's unchanged. Small images: see `models.small_images`.
"""

from torch import nn
from torchvision.models import MobileNetV2

from models.arch import Arch, require_width
from models.small_images import fitted_stem


class MobileNetV2Arch(Arch, frozen=True, tag="mobilenet_v2", forbid_unknown_fields=True, kw_only=True):
    """width: multiplies all channels, but never makes the last 1280 fewer. dropout: before the classifier."""

    width: float = 1.0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width, self.dropout)

    def network(self) -> nn.Module:
        network = MobileNetV2(self.classes, self.width, dropout=self.dropout)
        network.features[0][0] = fitted_stem(network.features[0][0], self.in_channels, self.image_size_px)
        return network
