"""ShuffleNet v1 (arXiv 1707.01083): grouped 1x1 convolutions, shuffled, in 1, 2, 3, 4 or 8 groups.

The channels of the first stage are the paper's, times the width, up to the next multiple of four groups; each later
stage has twice as many. The stem has 24, from width 2 on 48, below width 1 `24 * width` up to a multiple of the groups,
and below a half no fewer than a half has: the least multiple of 12 that the groups divide, which gives the paper's
13 million multiply-adds at width 0.25. The classifier has a bias, the authors' has none. Small images: see
`models.small_images`.
"""

import math
from typing import Literal

from torch import Tensor, nn

from models.arch import Arch, require_width
from models.blocks.convolution import ConvBnAct, Unit
from models.blocks.shuffle import group_shuffle_unit
from models.small_images import is_small, stem_pool

_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # of the first stage; each later one has twice as many
_REPEATS = (4, 8, 4)
_STEM = 24


class ShuffleNetV1Arch(Arch, frozen=True, tag="shufflenet_v1", forbid_unknown_fields=True, kw_only=True):
    """groups: of the 1x1 convolutions. width: multiplies all channels."""

    groups: Literal[1, 2, 3, 4, 8] = 3
    width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width)

    def network(self) -> nn.Module:
        return ShuffleNetV1(self)

    @property
    def stem_channels(self) -> int:
        """Of the first convolution."""
        if self.width < 0.5:
            return math.lcm(_STEM // 2, self.groups)
        if self.width < 1:
            return math.ceil(_STEM * self.width / self.groups) * self.groups
        return 2 * _STEM if self.width >= 2 else _STEM

    def stage_channels(self, stage: int) -> int:
        """Of stage 0, 1 or 2."""
        multiple = 4 * self.groups
        return math.ceil(_CHANNELS[self.groups] * self.width / multiple) * multiple * 2**stage


class ShuffleNetV1(nn.Module):
    """(images, in_channels, size, size) to logits (images, classes)."""

    def __init__(self, arch: ShuffleNetV1Arch) -> None:
        super().__init__()
        channels = arch.stem_channels
        stride = 1 if is_small(arch.image_size_px) else 2
        pool = stem_pool(nn.MaxPool2d(3, 2, padding=1), arch.image_size_px)
        self.stem = nn.Sequential(ConvBnAct(arch.in_channels, channels, stride=stride), pool)
        self.stages = nn.Sequential()
        for stage, repeats in enumerate(_REPEATS):
            outputs = arch.stage_channels(stage)
            # The very first 1x1 convolution is not grouped: the stem gives it few channels.
            first = group_shuffle_unit(Unit(channels, outputs, stride=2), arch.groups, grouped_input=stage > 0)
            later = [group_shuffle_unit(Unit(outputs, outputs), arch.groups) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(first, *later))
            channels = outputs
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, arch.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.stages(self.stem(x))))
        return logits
