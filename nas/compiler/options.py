"""What one compilation is asked for besides network and processor, as conf/compile.yaml says it."""

from typing import Annotated

import msgspec

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class CompileOptions(msgspec.Struct, frozen=True, kw_only=True):
    """batch: images per inference; seed: of the ground truth's input; ladder: see `nas.compiler.opt.ladder`; the others: what images
    the network is made to fit, None as it is described.
    """

    batch: AtLeastOne = 1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    ladder: bool = False
    image_size_px: AtLeastOne | None = None
    in_channels: AtLeastOne | None = None
    classes: AtLeastOne | None = None

    @property
    def image(self) -> dict[str, int | None]:
        """By the names of a network's description."""
        return {"in_channels": self.in_channels, "classes": self.classes, "image_size_px": self.image_size_px}
