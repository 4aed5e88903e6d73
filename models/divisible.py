"""A scaled width -> a number of channels that hardware likes: a multiple, never more than a tenth narrower than asked."""


def divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, at least one, and at least nine tenths of them.

    The rounding of the MobileNets (their authors' `make_divisible`).
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor


def scaled(channels: int, width: float) -> int:
    """`channels` times the width multiplier, at least one; without rounding to a multiple."""
    return max(1, round(channels * width))
