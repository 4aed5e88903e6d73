"""The one rule by which networks made for 224 x 224 images take small ones, such as 32 x 32.

    Below 64 pixels the first convolution has stride 1, padded so that it keeps the size, and the pool that follows right
    behind it, where there is one, is left out.

Nothing else changes and no weight has another shape: what was trained at one size loads at any other. An image of 32
pixels then has, deep in the network, as many places as one of 64 (128, where there is a pool) would have by the papers.
"""

from torch import nn

SMALLEST_FULL_PX = 64


def is_small(image_size_px: int) -> bool:
    """Whether the rule holds for images of this size."""
    return image_size_px < SMALLEST_FULL_PX


def fitted_stem(conv: nn.Conv2d, in_channels: int, image_size_px: int) -> nn.Conv2d:
    """A first convolution like `conv`, for images of `in_channels` and this size, with new weights.

    They are drawn as torchvision draws those of its networks for images: Kaiming's normal, by the fan out.
    """
    small = is_small(image_size_px)
    rows, columns = conv.kernel_size
    stem = nn.Conv2d(
        in_channels,
        conv.out_channels,
        (rows, columns),
        stride=1 if small else conv.stride,  # type: ignore[arg-type]
        padding=(rows // 2, columns // 2) if small else conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    return stem


def stem_pool(pool: nn.Module, image_size_px: int) -> nn.Module:
    """The pool right behind the first convolution: itself, or nothing."""
    return nn.Identity() if is_small(image_size_px) else pool
