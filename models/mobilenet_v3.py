"""MobileNet v3 (arXiv 1905.02244), large and small: torchvision's, for any width, channels in and small images.

Its weights load from torchvision's unchanged. Small images: see `models.small_images`.

At other widths than 1 the authors' program and torchvision's are different networks: the authors' widens each unit by the
paper's ratio of what it really reads, and leaves the hidden linear layer as it is below width 1; torchvision's scales
every number of the paper's table. The authors' is the default, torchvision's is there for its weights.
"""

from typing import Literal

from torch import nn
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

from models.arch import Arch, require_width
from models.divisible import divisible
from models.small_images import fitted_stem

_RELU, _SWISH = "RE", "HS"
# (kernel, widened channels, output channels, squeeze-and-excite, activation, stride), tables 1 and 2 of the paper.
_LARGE = (
    (3, 16, 16, False, _RELU, 1),
    (3, 64, 24, False, _RELU, 2),
    (3, 72, 24, False, _RELU, 1),
    (5, 72, 40, True, _RELU, 2),
    (5, 120, 40, True, _RELU, 1),
    (5, 120, 40, True, _RELU, 1),
    (3, 240, 80, False, _SWISH, 2),
    (3, 200, 80, False, _SWISH, 1),
    (3, 184, 80, False, _SWISH, 1),
    (3, 184, 80, False, _SWISH, 1),
    (3, 480, 112, True, _SWISH, 1),
    (3, 672, 112, True, _SWISH, 1),
    (5, 672, 160, True, _SWISH, 2),
    (5, 960, 160, True, _SWISH, 1),
    (5, 960, 160, True, _SWISH, 1),
)
_SMALL = (
    (3, 16, 16, True, _RELU, 2),
    (3, 72, 24, False, _RELU, 2),
    (3, 88, 24, False, _RELU, 1),
    (5, 96, 40, True, _SWISH, 2),
    (5, 240, 40, True, _SWISH, 1),
    (5, 240, 40, True, _SWISH, 1),
    (5, 120, 48, True, _SWISH, 1),
    (5, 144, 48, True, _SWISH, 1),
    (5, 288, 96, True, _SWISH, 2),
    (5, 576, 96, True, _SWISH, 1),
    (5, 576, 96, True, _SWISH, 1),
)
_STEM = 16
_HIDDEN = {"large": 1280, "small": 1024}


class MobileNetV3Arch(Arch, frozen=True, tag="mobilenet_v3", forbid_unknown_fields=True, kw_only=True):
    """variant: the table of units. width: multiplies all channels. dropout: before the last layer.

    scaling: whose rule says what a width is (see above); at width 1 they agree.
    """

    variant: Literal["large", "small"] = "small"
    width: float = 1.0
    scaling: Literal["authors", "torchvision"] = "authors"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width, self.dropout)

    def network(self) -> nn.Module:
        units, inputs, table_inputs = [], divisible(_STEM * self.width), _STEM
        for kernel, table_widened, table_outputs, squeezes, curve, stride in (
            _LARGE if self.variant == "large" else _SMALL
        ):
            outputs, widened = divisible(table_outputs * self.width), divisible(table_widened * self.width)
            if self.scaling == "authors":
                widened = divisible(inputs * table_widened / table_inputs)
            units.append(InvertedResidualConfig(inputs, kernel, widened, outputs, squeezes, curve, stride, 1, 1.0))
            inputs, table_inputs = outputs, table_outputs
        hidden_width = max(1.0, self.width) if self.scaling == "authors" else self.width
        hidden = divisible(_HIDDEN[self.variant] * hidden_width)
        network = MobileNetV3(units, hidden, self.classes, dropout=self.dropout)
        network.features[0][0] = fitted_stem(network.features[0][0], self.in_channels, self.image_size_px)
        return network
