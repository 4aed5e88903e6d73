"""What every network description has in common: the size of its images and the number of its classes.

An `Arch` is a frozen value that goes to JSON and back, and that knows how to build its network. JSON names the kind of
network in the field "model": `{"model": "svhn_net", "classes": 10, ...}`. Each kind stands beside its network, and the
list of all of them is `models.MODELS`.
"""

from collections.abc import Mapping

import msgspec
from torch import nn

from models.bits import FULL_PRECISION_BITS, require_bits

LARGEST_WIDTH = 16  # times the paper's channels: beyond, it is a slip of the finger
LARGEST_SIZE = 1 << 16  # of an image or a layer; of a larger one nobody has the memory, or the time to find that out


class LayerBits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bits of one layer, by its name in the network."""

    layer: str
    weight_bits: int = FULL_PRECISION_BITS
    activation_bits: int = FULL_PRECISION_BITS
    gradient_bits: int = FULL_PRECISION_BITS

    def __post_init__(self) -> None:
        require_bits(
            weight_bits=self.weight_bits, activation_bits=self.activation_bits, gradient_bits=self.gradient_bits
        )


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """DoReFa quantisers for a whole network (see `models.quantize`): the same bits everywhere, but for `layers`.

    skip: names of layers that keep full precision; None stands for the first and the last, as in DoReFa-Net.
    """

    weight_bits: int = FULL_PRECISION_BITS
    activation_bits: int = FULL_PRECISION_BITS
    gradient_bits: int = FULL_PRECISION_BITS
    skip: tuple[str, ...] | None = None
    layers: tuple[LayerBits, ...] = ()

    def __post_init__(self) -> None:
        require_bits(
            weight_bits=self.weight_bits, activation_bits=self.activation_bits, gradient_bits=self.gradient_bits
        )
        names = [each.layer for each in self.layers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"layers must name each layer once, got {name!r} {names.count(name)} times")


class Arch(msgspec.Struct, frozen=True, tag_field="model", forbid_unknown_fields=True, kw_only=True):
    """Images of `in_channels` x `image_size_px` x `image_size_px`, values in [0, 1], to `classes` logits.

    quantization: of the network when it is built, whichever it is; None leaves it as it is.
    """

    in_channels: int = 3
    classes: int = 10
    image_size_px: int = 32
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        require_positive(in_channels=self.in_channels, classes=self.classes, image_size_px=self.image_size_px)

    def network(self) -> nn.Module:
        """A new network of this description, weights drawn from torch's generator; it carries `.arch`."""
        raise NotImplementedError(f"{type(self).__name__} builds no network")

    def narrowed(self, channels: Mapping[str, int]) -> "Arch | None":
        """The description of the network whose layers of these names have so many channels; None where none can say that."""
        del channels
        return None


def require_positive(most: int = LARGEST_SIZE, **values: int) -> None:
    """Raise ValueError for the first of the named `values` below 1 or above `most`, which nobody could build."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
        if value > most:
            raise ValueError(f"{name} must be at most {most}, got {value}")


def require_image(size_px: int, least_px: int) -> None:
    """Raise ValueError for images of which a network's pools would leave nothing."""
    if size_px < least_px:
        raise ValueError(f"image_size_px must be at least {least_px}, got {size_px}")


def require_width(width: float, dropout: float = 0.0) -> None:
    """Raise ValueError for a width multiplier or a dropout that no network can have."""
    if not 0 < width <= LARGEST_WIDTH:
        raise ValueError(f"width must be above 0 and at most {LARGEST_WIDTH}, got {width}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be 0 <= share < 1, got {dropout}")
