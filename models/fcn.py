"""A fully convolutional network (arXiv 1411.4038): a ResNet's features, torchvision's FCN head, a class at every place.

With depth 50, width 1 and dilation it is torchvision's fcn_resnet50 without its auxiliary head, and takes its weights.
Small images: see `models.small_images`.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.fcn import FCNHead

from models.arch import Arch, require_width
from models.resnet import Depth, add_trunk


class FcnArch(Arch, frozen=True, tag="fcn", forbid_unknown_fields=True, kw_only=True):
    """depth, width: of the ResNet. dilated: its last two stages keep the size; of depth 50 alone.

    output: "image" gives the logits of an image (images, classes), the mean of those of its places; "places" gives all of
    them, enlarged to the image (images, classes, rows, columns), as for segmentation.
    """

    depth: Depth = 18
    width: float = 1.0
    dilated: bool = False
    output: Literal["image", "places"] = "image"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_width(self.width)
        if self.dilated and self.depth != 50:
            raise ValueError(f"dilated: expected a depth of 50, whose blocks can dilate, got {self.depth}")

    def network(self) -> nn.Module:
        return Fcn(self)


class Fcn(nn.Module):
    """(images, in_channels, rows, columns) to logits of the image or of all its places."""

    def __init__(self, arch: FcnArch) -> None:
        super().__init__()
        self.gives_places = arch.output == "places"
        self.backbone = nn.Sequential()
        channels = add_trunk(self.backbone, arch, arch.depth, arch.width, arch.dilated)
        self.classifier = FCNHead(channels, arch.classes)

    def forward(self, x: Tensor) -> Tensor:
        places: Tensor = self.classifier(self.backbone(x))
        if self.gives_places:
            return F.interpolate(places, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return places.mean((2, 3))
