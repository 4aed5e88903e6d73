"""A network of stages, each with a block kind, a depth, a width, a kernel and bits: what the search chooses from.

    image - stem (conv 3x3) - stage - stage - ... [- head (conv 1x1)] - mean over the image - classifier

The first unit of a stage has the stage's stride and changes the width; the others keep both. Any image size will do.
Where two neighbours differ in their activation bits, the later one quantises what it reads.
"""

from typing import Literal

import msgspec
from torch import Tensor, nn

from models.arch import FULL_PRECISION_BITS, Arch, require_bits, require_positive
from models.blocks import Bits, ConvBnAct, InvertedResidual, ShuffleUnit, rectifier, signed_quantizer
from models.quantize import ActivationQuantizer
from models.svhn_net import linear

_KERNELS = (1, 3, 5, 7, 9, 11)


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`depth` units of one block kind, `width` channels each.

    stride: of the first unit; 1 keeps the size, 2 halves it. expansion: of mobile_v2 alone. activation_bits: of every
    tensor that the stage's convolutions read.
    """

    block: Literal["conv", "mobile_v2", "shuffle_v2"]
    depth: int
    width: int
    kernel: int = 3
    stride: int = 2
    expansion: int = 4
    weight_bits: int = FULL_PRECISION_BITS
    activation_bits: int = FULL_PRECISION_BITS

    def __post_init__(self) -> None:
        require_positive(depth=self.depth, width=self.width, expansion=self.expansion)
        require_bits(weight_bits=self.weight_bits, activation_bits=self.activation_bits)
        if self.kernel not in _KERNELS:
            raise ValueError(f"kernel must be odd and at most {_KERNELS[-1]}, got {self.kernel}")
        if self.stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, got {self.stride}")
        if self.block == "shuffle_v2" and self.width % 2:
            raise ValueError(f"width of a shuffle_v2 stage must be even, its units split it in two, got {self.width}")


class SearchableArch(Arch, frozen=True, tag="searchable", forbid_unknown_fields=True, kw_only=True):
    """Stem, stages, head and the bits of the edges.

    head_width: channels of a 1x1 convolution before the mean, 0 for none; it has the bits of the last stage.
    edge_weight_bits: first and last layer. edge_activation_bits: the input image, and what the last layer reads. 32, as
    in DoReFa-Net, or 8 for a network that runs in integers from end to end: images are uint8 / 255, which 8 bits hold.
    """

    stages: tuple[Stage, ...]
    stem_width: int = 16
    head_width: int = 0
    edge_weight_bits: int = FULL_PRECISION_BITS
    edge_activation_bits: int = FULL_PRECISION_BITS

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(stem_width=self.stem_width)
        require_bits(edge_weight_bits=self.edge_weight_bits, edge_activation_bits=self.edge_activation_bits)
        if not self.stages:
            raise ValueError("stages must hold at least one stage, got none")
        if self.head_width < 0:
            raise ValueError(f"head_width must be 0 for no head, or more, got {self.head_width}")

    def network(self) -> nn.Module:
        return Searchable(self)


class Searchable(nn.Module):
    """(images, in_channels, size, size) in [0, 1] to logits (images, classes)."""

    def __init__(self, arch: SearchableArch) -> None:
        super().__init__()
        self.arch = arch
        first, last = arch.stages[0], arch.stages[-1]
        stem_bits = Bits(arch.edge_weight_bits, first.activation_bits)
        self.stem = nn.Sequential(
            *_image_quantizer(arch.edge_activation_bits),
            ConvBnAct(arch.in_channels, arch.stem_width, 3, 1, 1, stem_bits),
        )
        self.stages = nn.Sequential()
        width, bits, signed = arch.stem_width, first.activation_bits, False
        for stage in arch.stages:
            self.stages.append(nn.Sequential(*_requantise(bits, stage.activation_bits, signed), *_units(stage, width)))
            width, bits, signed = stage.width, stage.activation_bits, stage.block == "mobile_v2"
        self.head = nn.Sequential()
        if arch.head_width:
            self.head.append(ConvBnAct(width, arch.head_width, 1, 1, 1, Bits(last.weight_bits, last.activation_bits)))
            width, signed = arch.head_width, False
        # The mean of codes is no code, whatever the bits were: a quantised classifier reads a tensor of its own format.
        requantise = _requantise(FULL_PRECISION_BITS, arch.edge_activation_bits, signed)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *requantise)
        self.classifier = linear(width, arch.classes, arch.edge_weight_bits)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.head(self.stages(self.stem(x)))))
        return logits


def _image_quantizer(bits: int) -> list[nn.Module]:
    """Images lie in 0 .. 1; those that were uint8 / 255 lose nothing at 8 bits."""
    return [] if bits == FULL_PRECISION_BITS else [ActivationQuantizer(bits)]


def _requantise(bits: int, wanted_bits: int, signed: bool) -> list[nn.Module]:
    """What turns a tensor of `bits` into one of `wanted_bits`: nothing where they agree or none are wanted."""
    if wanted_bits in (bits, FULL_PRECISION_BITS):
        return []
    return signed_quantizer(wanted_bits) if signed else [rectifier(wanted_bits)]


def _units(stage: Stage, inputs: int) -> list[nn.Module]:
    """The `depth` units of a stage that reads `inputs` channels."""
    units: list[nn.Module] = []
    bits = Bits(stage.weight_bits, stage.activation_bits)
    for index in range(stage.depth):
        width, stride = (stage.width, 1) if index else (inputs, stage.stride)
        if stage.block == "conv":
            units.append(ConvBnAct(width, stage.width, stage.kernel, stride, 1, bits))
        elif stage.block == "mobile_v2":
            units.append(InvertedResidual(width, stage.width, stage.kernel, stride, stage.expansion, bits))
        else:
            units.append(ShuffleUnit(width, stage.width, stage.kernel, stride, index == 0, bits))
    return units
