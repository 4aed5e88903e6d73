"""GoogLeNet (arXiv 1409.4842), with batch norms: torchvision's, for any width, channels in and small images.

Its weights load from those of torchvision's network without auxiliary classifiers. The images are taken as they are, not
as torchvision's pretrained weights want them (`transform_input`). Small images: see `models.small_images`.
"""

from torch import nn
from torchvision.models import GoogLeNet
from torchvision.models.googlenet import BasicConv2d, Inception

from models.arch import Arch, require_image, require_width
from models.divisible import scaled
from models.small_images import fitted_stem, stem_pool

_SMALLEST_IMAGE_PX = 4


class GoogLeNetArch(Arch, frozen=True, tag="googlenet", forbid_unknown_fields=True, kw_only=True):
    """width: multiplies all channels. dropout: before the classifier."""

    width: float = 1.0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width, self.dropout)
        require_image(self.image_size_px, _SMALLEST_IMAGE_PX)

    def network(self) -> nn.Module:
        parts = _Parts(self.width)
        blocks = [parts.convolution, parts.inception, nn.Identity]
        network = GoogLeNet(self.classes, aux_logits=False, init_weights=False, blocks=blocks, dropout=self.dropout)
        network.conv1.conv = fitted_stem(network.conv1.conv, self.in_channels, self.image_size_px)
        network.maxpool1 = stem_pool(network.maxpool1, self.image_size_px)
        network.fc = nn.Linear(parts.channels, self.classes)
        return network


class _Parts:
    """Makes torchvision's parts with scaled widths, each for what the one before it gives; the network is a chain."""

    def __init__(self, width: float) -> None:
        self.width, self.channels = width, 3

    def convolution(self, _: int, outputs: int, kernel_size: int, stride: int = 1, padding: int = 0) -> nn.Module:
        inputs, self.channels = self.channels, scaled(outputs, self.width)
        return BasicConv2d(inputs, self.channels, kernel_size=kernel_size, stride=stride, padding=padding)

    def inception(self, _: int, *channels: int) -> nn.Module:
        """channels: 1x1 | reduced, 3x3 | reduced, 3x3 | after the pool."""
        widths = [scaled(each, self.width) for each in channels]
        inputs, self.channels = self.channels, widths[0] + widths[2] + widths[4] + widths[5]
        return Inception(inputs, *widths)
