"""What one compilation is asked for besides network and processor, as conf/compile.yaml says it."""

from typing import Annotated

import msgspec

from nas.compiler.inputs import Shape
from nas.core.errors import InputError

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Sizes = AtLeastOne | Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*(x[1-9]\d*)*$")]


class CompileOptions(msgspec.Struct, frozen=True, kw_only=True):
    """batch: images per inference; seed: of the ground truth's input; ladder: see `nas.compiler.opt.ladder`; module: see
    `nas.compiler.front_end.own_module`, whose input has this shape, without the batch, or whose inputs have these; the others: what images
    the network is made to fit, None as it is described.
    """

    batch: AtLeastOne = 1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    ladder: bool = False
    module: str | None = None
    shape: Sizes | Annotated[tuple[Sizes, ...], msgspec.Meta(min_length=1)] | None = None
    image_size_px: AtLeastOne | None = None
    in_channels: AtLeastOne | None = None
    classes: AtLeastOne | None = None

    def __post_init__(self) -> None:
        if (self.module is None) != (self.shape is None):
            given = f"module={self.module} without a shape" if self.module else f"shape={self.shape} without a module"
            raise InputError("compile", "shape", "a module and the shape of its input, such as 3x32x32", given)

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Of the module, batch first."""
        shapes = self.shape if isinstance(self.shape, tuple) else (self.shape,)
        return tuple((self.batch, *map(int, str(shape).split("x"))) for shape in shapes)

    @property
    def image(self) -> dict[str, int | None]:
        """By the names of a network's description."""
        return {"in_channels": self.in_channels, "classes": self.classes, "image_size_px": self.image_size_px}
