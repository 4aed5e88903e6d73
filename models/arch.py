"""What every network description has in common: the size of its images and the number of its classes.

An `Arch` is a frozen value that goes to JSON and back, and that knows how to build its network. JSON names the kind of
network in the field "model": `{"model": "svhn_net", "classes": 10, ...}`. Each kind stands beside its network, and the
list of all of them is `models.MODELS`.
"""

import msgspec
from torch import nn

QUANTISED_BITS = range(1, 9)  # DoReFa quantisers of 1..8 bits; 32 means full precision
FULL_PRECISION_BITS = 32


class Arch(msgspec.Struct, frozen=True, tag_field="model", forbid_unknown_fields=True, kw_only=True):
    """Images of `in_channels` x `image_size_px` x `image_size_px`, values in [0, 1], to `classes` logits."""

    in_channels: int = 3
    classes: int = 10
    image_size_px: int = 32

    def __post_init__(self) -> None:
        require_positive(in_channels=self.in_channels, classes=self.classes, image_size_px=self.image_size_px)

    def network(self) -> nn.Module:
        """A new network of this description, weights drawn from torch's generator; it carries `.arch`."""
        raise NotImplementedError(f"{type(self).__name__} builds no network")


def require_positive(**values: int) -> None:
    """Raise ValueError for the first of the named `values` below 1."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def require_bits(**values: int) -> None:
    """Raise ValueError for the first of the named `values` that is no bit width of a quantiser."""
    for name, value in values.items():
        if value not in QUANTISED_BITS and value != FULL_PRECISION_BITS:
            raise ValueError(f"{name} must be 1 to 8, or 32 for full precision, got {value}")
