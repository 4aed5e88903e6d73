"""A network of stages, each with a block kind, a depth, a width, a kernel and bits: what the search chooses from.

    image - stem (conv 3x3) - stage - stage - ... [- head (conv 1x1)] - classifier

    classifier "mean"            mean over the image, then a linear layer
               "convolutional"   a 1x1 convolution to the classes, then the mean: no linear layer, a map of classes inside
               "flat"            a linear layer of all channels at all places; it knows one image size

The first unit of a stage has the stage's stride and changes the width; the others keep both. Any image size will do.
Where two neighbours differ in their activation bits, the later one quantises what it reads.
"""

from functools import partial
from typing import Literal

from torch import Tensor, nn

from models.arch import Arch, require_positive
from models.bits import FULL_PRECISION_BITS, Bits, require_bits
from models.blocks.convolution import ConvBnAct, addend, rectifier, signed_quantizer
from models.quantized_layers import QuantConv2d
from models.quantizers import ActivationQuantizer
from models.stage import SIGNED_OUTPUTS, Stage
from models.svhn_net import linear


class SearchableArch(Arch, frozen=True, tag="searchable", forbid_unknown_fields=True, kw_only=True):
    """Stem, stages, head and the bits of the edges.

    head_width: channels of a 1x1 convolution before the classifier, 0 for none; it has the bits of the last stage.
    edge_weight_bits: first and last layer. edge_activation_bits: the input image, and what the last layer reads. 32, as
    in DoReFa-Net, or 8 for a network that runs in integers from end to end: images are uint8 / 255, which 8 bits hold.
    """

    stages: tuple[Stage, ...]
    stem_width: int = 16
    head_width: int = 0
    classifier: Literal["mean", "convolutional", "flat"] = "mean"
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
        require_positive(head_width=self.head_width or 1)

    @property
    def map_size_px(self) -> int:
        """Rows and columns of what the classifier reads."""
        size_px = self.image_size_px
        for stage in self.stages:
            size_px = -(-size_px // stage.stride)
        return size_px

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
            ConvBnAct(arch.in_channels, arch.stem_width, bits=stem_bits),
        )
        self.stages = nn.Sequential()
        width, bits, signed = arch.stem_width, first.activation_bits, False
        for stage in arch.stages:
            # What is added before a ReLU lies on the grid of such addends, or the sums would fall between two values.
            enters_sum = signed and stage.rectifies_input(width)
            entry = addend if enters_sum else partial(_requantise, bits, signed=signed)
            self.stages.append(nn.Sequential(*entry(stage.activation_bits), *stage.units(width)))
            width, bits, signed = stage.width, stage.activation_bits, stage.block in SIGNED_OUTPUTS
        self.head = nn.Sequential()
        if arch.head_width:
            self.head.append(ConvBnAct(width, arch.head_width, 1, bits=last.bits))
            width, signed = arch.head_width, False
        self._add_classifier(arch, width, signed)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.head(self.stages(self.stem(x)))))
        return logits

    def _add_classifier(self, arch: SearchableArch, width: int, signed: bool) -> None:
        """`pool` and `classifier`. A classifier with an edge of few bits reads a tensor of its own format."""
        wanted, edge, mean = arch.edge_activation_bits, Bits(arch.edge_weight_bits), nn.AdaptiveAvgPool2d(1)
        if arch.classifier == "mean":  # the mean of codes is no code, whatever the bits were
            self.pool = nn.Sequential(mean, nn.Flatten(), *_requantise(FULL_PRECISION_BITS, wanted, signed))
            self.classifier: nn.Module = linear(width, arch.classes, edge)
            return
        requantise = _requantise(arch.stages[-1].activation_bits, wanted, signed)
        if arch.classifier == "flat":
            self.pool = nn.Sequential(*requantise, nn.Flatten())
            self.classifier = linear(width * arch.map_size_px**2, arch.classes, edge)
            return
        self.pool = nn.Sequential(*requantise)
        conv = nn.Conv2d(width, arch.classes, 1)
        to_classes = conv if edge.weight == FULL_PRECISION_BITS else QuantConv2d(conv, edge)
        self.classifier = nn.Sequential(to_classes, mean, nn.Flatten())


def _image_quantizer(bits: int) -> list[nn.Module]:
    """Images lie in 0 .. 1; those that were uint8 / 255 lose nothing at 8 bits."""
    return [] if bits == FULL_PRECISION_BITS else [ActivationQuantizer(bits)]


def _requantise(bits: int, wanted_bits: int, signed: bool) -> list[nn.Module]:
    """What turns a tensor of `bits` into one of `wanted_bits`: nothing where they agree or none are wanted."""
    if wanted_bits in (bits, FULL_PRECISION_BITS):
        return []
    return signed_quantizer(wanted_bits) if signed else [rectifier(wanted_bits)]
