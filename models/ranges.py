"""A bit width -> the quantiser of activations that trains at it, over the range that a batch norm fills.

    after a ReLU     0 .. range
    after a linear   -range .. range    where a paper has no activation
    before a sum     -range .. range    in steps of exactly two of the first format

DoReFa-Net's own range of 0 .. 1 cuts off a third of what a batch norm gives, and twenty layers of it do not train:
after two short epochs of a network of all blocks, 8-bit activations gave an error of 0.79, with 0 .. 4 of 0.36; none gave
0.38. Few bits need a narrower range, or nearly all values would fall on zero (4 bits: 0.46 with 4, 0.39 with 3).
"""

from models.bits import FULL_PRECISION_BITS
from models.quantizers import ActivationQuantizer

RANGE = {1: 1.0, 2: 2.0, 3: 3.0, 4: 3.0} | dict.fromkeys(range(5, FULL_PRECISION_BITS), 4.0)


def positive_quantizer(bits: int) -> ActivationQuantizer:
    """A quantiser of 0 .. range; `bits` below 32."""
    return ActivationQuantizer(bits, 0.0, RANGE[bits])


def symmetric_quantizer(bits: int) -> ActivationQuantizer:
    """A quantiser of -range .. range; `bits` below 32."""
    return ActivationQuantizer(bits, -RANGE[bits], RANGE[bits])


def addend_quantizer(bits: int) -> ActivationQuantizer:
    """The quantiser of what is added to positive numbers of `bits` before a ReLU; `bits` below 32.

    Its steps are two of theirs, so that sums lie on their grid and only have to saturate. With other steps many sums lie
    halfway between two values, and float rounding would decide. One bit has no room for a sign: it is 0 or the range.
    """
    if bits == 1:
        return positive_quantizer(bits)
    high = RANGE[bits] * 2**bits / (2**bits - 1)
    return ActivationQuantizer(bits, -high, high)
