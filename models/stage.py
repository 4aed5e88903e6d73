"""A stage of a searchable network: its description -> its units."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
from torch import nn

from models.arch import require_positive
from models.bits import FULL_PRECISION_BITS, Bits, require_bits
from models.blocks.convolution import Unit, conv_unit, hard_swish, rectifier
from models.blocks.mobile import InvertedResidual, separable_unit
from models.blocks.residual import basic_unit, bottleneck_unit
from models.blocks.shuffle import ShuffleUnit, group_shuffle_unit

_KERNELS = (1, 3, 5, 7, 9, 11)
_GROUPS = (1, 2, 3, 4, 8)
_DEEPEST = 1 << 10
_WITH_SKIP = ("mobile_v2", "mobile_v3", "residual", "bottleneck")  # the papers add the input; conv and mobile_v1 do not
_SHUFFLES = ("shuffle_v1", "shuffle_v2")
_FACTORISES = ("conv", "residual", "bottleneck")
SIGNED_OUTPUTS = ("mobile_v2", "mobile_v3")  # they end without an activation

Block = Literal["conv", "mobile_v1", "mobile_v2", "mobile_v3", "shuffle_v1", "shuffle_v2", "residual", "bottleneck"]


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`depth` units of one block kind, `width` channels each.

    stride: of the first unit; 1 keeps the size, 2 halves it. expansion: mobile_v2 and mobile_v3 widen by it, a bottleneck
    narrows by it. groups: of shuffle_v1. skip: whether units add their input, where its shape fits; None does as the
    block's paper does, and the shuffle kinds know nothing else. factorised: k x k convolutions as 1 x k and k x 1, of
    conv, residual and bottleneck. squeeze_excite, hard_swish: of mobile_v3. activation_bits: of every tensor that the
    stage's convolutions read.
    """

    block: Block
    depth: int
    width: int
    kernel: int = 3
    stride: int = 2
    expansion: int = 4
    groups: int = 2
    skip: bool | None = None
    factorised: bool = False
    squeeze_excite: bool = True
    hard_swish: bool = True
    weight_bits: int = FULL_PRECISION_BITS
    activation_bits: int = FULL_PRECISION_BITS
    gradient_bits: int = FULL_PRECISION_BITS

    def __post_init__(self) -> None:
        require_positive(width=self.width, expansion=self.expansion)
        require_positive(most=_DEEPEST, depth=self.depth)
        require_bits(
            weight_bits=self.weight_bits, activation_bits=self.activation_bits, gradient_bits=self.gradient_bits
        )
        if self.kernel not in _KERNELS:
            raise ValueError(f"kernel must be odd and at most {_KERNELS[-1]}, got {self.kernel}")
        if self.stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, got {self.stride}")
        if self.groups not in _GROUPS:
            raise ValueError(f"groups must be one of {_GROUPS}, got {self.groups}")
        if self.block == "shuffle_v2" and self.width % 2:
            raise ValueError(f"width of a shuffle_v2 stage must be even, its units split it in two, got {self.width}")
        if self.block == "shuffle_v1" and self.width % (4 * self.groups):
            raise ValueError(
                f"width of a shuffle_v1 stage must be a multiple of 4 groups, {4 * self.groups}, got {self.width}"
            )
        if self.block in _SHUFFLES and self.skip is not None:
            raise ValueError(
                f"skip of a {self.block} stage must be left out, its units are made of it, got {self.skip}"
            )
        if self.factorised and self.block not in _FACTORISES:
            raise ValueError(f"factorised is for {', '.join(_FACTORISES)}, got it for {self.block}")

    @property
    def bits(self) -> Bits:
        """Of all units."""
        return Bits(self.weight_bits, self.activation_bits, self.gradient_bits)

    @property
    def adds_input(self) -> bool:
        """Whether units add their input, where its shape fits."""
        return self.block == "shuffle_v1" or (self.block in _WITH_SKIP if self.skip is None else self.skip)

    def rectifies_input(self, inputs: int) -> bool:
        """Whether the first unit adds `inputs` channels as they are before a ReLU."""
        return self.adds_input and self.block not in SIGNED_OUTPUTS and self.stride == 1 and inputs == self.width

    def units(self, inputs: int) -> list[nn.Module]:
        """The units of a stage that reads `inputs` channels; the first has the stride and changes the width."""
        first = Unit(inputs, self.width, self.kernel, self.stride, self.bits, self.adds_input, self.factorised)
        later = first._replace(inputs=self.width, stride=1)
        make = self._maker()
        # A ShuffleNet v2 stage starts with a unit that filters both halves, even where it changes no shape.
        start = ShuffleUnit(first, downsample=True) if self.block == "shuffle_v2" else make(first)
        return [start, *(make(later) for _ in range(self.depth - 1))]

    def _maker(self) -> Callable[[Unit], nn.Module]:
        activation = hard_swish if self.hard_swish else rectifier
        makers: dict[str, Callable[[Unit], nn.Module]] = {
            "conv": conv_unit,
            "mobile_v1": separable_unit,
            "mobile_v2": partial(InvertedResidual, expansion=self.expansion),
            "mobile_v3": partial(
                InvertedResidual, expansion=self.expansion, activation=activation, squeeze_excite=self.squeeze_excite
            ),
            "shuffle_v1": partial(group_shuffle_unit, groups=self.groups),
            "shuffle_v2": ShuffleUnit,
            "residual": basic_unit,
            "bottleneck": partial(bottleneck_unit, expansion=self.expansion),
        }
        return makers[self.block]
