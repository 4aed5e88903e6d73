"""ResNet 18, 34 and 50 (arXiv 1512.03385): torchvision's blocks, for any width, channels in and small images.

torchvision's own network has no width multiplier; this one has its names and, at width 1, its weights. Small images: see
`models.small_images`.
"""

from typing import Literal

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from models.arch import Arch, require_width
from models.divisible import scaled
from models.small_images import fitted_stem, stem_pool

Depth = Literal[18, 34, 50]
_REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_STEM = 64


class ResNetArch(Arch, frozen=True, tag="resnet", forbid_unknown_fields=True, kw_only=True):
    """depth: layers, 50 with bottlenecks. width: multiplies all channels."""

    depth: Depth = 18
    width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width)

    def network(self) -> nn.Module:
        return ResNet(self)


class ResNet(nn.Sequential):
    """(images, in_channels, size, size) to logits (images, classes)."""

    def __init__(self, arch: ResNetArch) -> None:
        super().__init__()
        channels = add_trunk(self, arch, arch.depth, arch.width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, arch.classes)


def add_trunk(network: nn.Sequential, arch: Arch, depth: Depth, width: float, dilated: bool = False) -> int:
    """Append all of a ResNet before its mean to `network`, under torchvision's names; the number of its channels.

    dilated: the last two stages, of bottlenecks, keep the size, and look as far by dilation.
    """
    channels = scaled(_STEM, width)
    network.conv1 = fitted_stem(nn.Conv2d(3, channels, 7, 2, 3, bias=False), arch.in_channels, arch.image_size_px)
    network.bn1 = nn.BatchNorm2d(channels)
    network.relu = nn.ReLU(inplace=True)
    network.maxpool = stem_pool(nn.MaxPool2d(3, 2, padding=1), arch.image_size_px)
    block: type[BasicBlock | Bottleneck] = Bottleneck if depth == 50 else BasicBlock
    dilation = 1
    for index, repeats in enumerate(_REPEATS[depth]):
        planes, stride, before = scaled(_STEM * 2**index, width), 2 if index else 1, dilation
        if dilated and index >= 2:
            dilation, stride = dilation * stride, 1
        outputs = planes * block.expansion
        units = [block(channels, planes, stride, _shortcut(channels, outputs, stride), dilation=before)]
        units += [block(outputs, planes, dilation=dilation) for _ in range(repeats - 1)]
        network.add_module(f"layer{index + 1}", nn.Sequential(*units))
        channels = outputs
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return channels


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
