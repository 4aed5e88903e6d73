"""One operator on the array -> the multiply-adds a cycle that no legal command goes beyond.

Legend: R x C cells; M output pixels; K terms a sum; N channels a group; q: so many times longer is a stream of operands that
go through slice by slice. `nas.check` holds every command against one operator: it makes whole sums, of its kernel or of
blocks of v x u neighbouring outputs, whose kernel has K' = depth ((v - 1) s + k) ((u - 1) t + l) terms for strides s and t.
So a group streams or holds at most M / v u blocks, K' terms and N v u sums. A fold lasts q S + R + C - 2 cycles for a stream
of S (`nas.timing.matrix`); for one group that is, of a fold,

    weight-stationary   K min(C, N v u) M / v u multiply-adds in q M / v u + R + C - 2     / ceil(K' / R)
    output-stationary   K min(C, N v u) min(R, M / v u)       in q K' + R + C - 2
    input-stationary    K min(C, M / v u) N v u               in q N v u + R + C - 2       / ceil(K' / R)

Several groups share a fold along its diagonal, or y of them are made as one, with zeros between them, so that all that a
group has is y times as long. Parts of what is in the fold count here, which is more than whole groups can reach.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nas.hw.spec import Matrix


class Product(NamedTuple):
    """images, sides (rows and columns of outputs), kernel and stride of a convolution; depth, channels of one of its groups."""

    images: int
    sides: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    depth: int
    channels: int
    groups: int


@lru_cache(maxsize=1 << 12)
def peak_macs(product: Product, matrix: Matrix, widths: tuple[int, int]) -> float:
    """Multiply-adds a cycle, at most, of any block and dataflow; `widths` from `nas.timing.matrix.passes`."""
    high, wide = (np.arange(1.0, side + 1) for side in product.sides)
    down, across = (
        (block - 1) * step + size
        for block, step, size in zip((high, wide), product.stride, product.kernel, strict=True)
    )
    outputs = np.outer(high, wide)
    terms = product.depth * np.outer(down, across)
    own_terms = product.depth * product.kernel[0] * product.kernel[1]
    blocks = product.images * product.sides[0] * product.sides[1] / outputs
    sums = product.channels * outputs
    rows, columns, fill = matrix.rows, matrix.columns, matrix.rows + matrix.columns - 2
    slow = widths[0] / widths[1]
    pixels = np.minimum(columns, blocks)  # an input-stationary fold's
    held = np.minimum(rows, blocks)  # an output-stationary fold's
    if product.groups == 1:
        folds = np.ceil(terms / rows)
        weights = np.minimum(columns, sums) / folds * blocks / (blocks * slow + fill)
        outs = np.minimum(columns, sums) * held / (terms * slow + fill)
        inputs = pixels / folds * sums / (sums * slow + fill)
    else:
        share = rows / terms  # so many groups lie one below the other
        weights = np.minimum(columns * np.minimum(1, share), share * sums) * blocks / (blocks * slow + fill)
        # As many groups made as one as bring more: their sums fill the columns, or their terms the rows.
        joined = np.maximum(1, columns * held / (rows * sums))
        outs = columns * held / (joined * terms * slow + fill)
        joined = np.maximum(1, share * pixels / columns)
        inputs = np.minimum(columns, share * pixels / joined) * joined * sums / (joined * sums * slow + fill)
    return own_terms * max(float(rate.max()) for rate in (weights, outs, inputs))
