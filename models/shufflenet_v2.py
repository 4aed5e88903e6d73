"""ShuffleNet v2 (arXiv 1807.11164): torchvision's, for any width, channels in and small images.

The paper's widths are 0.5, 1, 1.5 and 2, with channels of its own table; others have `116 * width`, rounded to an even
number, twice and four times as many. Weights load from torchvision's unchanged. Small images: see `models.small_images`.
"""

from torch import Tensor, nn
from torchvision.models import ShuffleNetV2
from torchvision.models.shufflenetv2 import InvertedResidual

from models.arch import Arch, require_width
from models.blocks.shuffle import ShuffledConcat
from models.small_images import fitted_stem, stem_pool

_REPEATS = [4, 8, 4]
_STEM = 24
_FIRST_STAGE = 116
_FIRST_STAGE_OF_WIDTH = {0.5: 48, 1.0: 116, 1.5: 176, 2.0: 244}  # table 5
_LAST, _LAST_OF_WIDE = 1024, 2048  # before the mean; the second from width 2 on


class ShuffleNetV2Arch(Arch, frozen=True, tag="shufflenet_v2", forbid_unknown_fields=True, kw_only=True):
    """width: multiplies the channels of the stages."""

    width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width)

    def network(self) -> nn.Module:
        first = _FIRST_STAGE_OF_WIDTH.get(self.width, max(2, 2 * round(_FIRST_STAGE * self.width / 2)))
        last = _LAST_OF_WIDE if self.width >= 2 else _LAST
        network = _Network(_REPEATS, [_STEM, first, 2 * first, 4 * first, last], self.classes)
        network.conv1[0] = fitted_stem(network.conv1[0], self.in_channels, self.image_size_px)
        network.maxpool = stem_pool(network.maxpool, self.image_size_px)
        return network


class _Unit(InvertedResidual):
    """torchvision's, whose own shuffle leaves channels last."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.shuffle = ShuffledConcat()

    def forward(self, x: Tensor) -> Tensor:
        kept, filtered = x.chunk(2, dim=1) if self.stride == 1 else (self.branch1(x), x)
        return self.shuffle(kept, self.branch2(filtered))


class _Network(ShuffleNetV2):
    """torchvision's, but for the mean at the end, which is a layer, as in the other networks."""

    def __init__(self, repeats: list[int], channels: list[int], classes: int) -> None:
        super().__init__(repeats, channels, classes, _Unit)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def _forward_impl(self, x: Tensor) -> Tensor:
        x = self.conv5(self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x))))))
        return self.fc(self.pool(x).flatten(1))
