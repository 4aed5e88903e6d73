"""One product on the array -> the useful multiply-adds a cycle that no cut and no layout of its weights can go beyond.

Legend: R x C cells; M output pixels; K terms a sum; N channels; g groups, each with T useful multiply-adds; u: in so many
sums, at most, an element of the data has a part. Operands that go through slice by slice stretch the stream q times.

A fold lasts q S + R + C - 2 cycles for a stream of S (`nas.timing.matrix`). Say that a group has r rows and c columns of
it. Then the fold does no more of it than T, nor more than `cells`, nor more than `pace` for every step of the stream:

    dataflow            a cell holds    cells    a row carries                a column            pace, at most
    weight-stationary   a weight        r c M    an element, u uses           makes a sum, of K   r u, c K, r c
    output-stationary   a sum           r c K    an element, u uses           a weight, M uses    r u, c M, r c
    input-stationary    an element      r c u    a weight, M uses             makes a sum, of K   r M, c K, r c

With m = min(T, cells) that is m / (q m / pace + R + C - 2) a cycle: a longer stream brings nothing more of this group, a
shorter one is filled and drained for less. Groups lie apart in a fold, so that r / R summed over all groups is at most one,
and so is c / C, and a (r / R) + (1 - a) (c / C) for every a from 0 to 1. Hence the fold does no more than the largest, over
all r and c, of the rate of one group divided by its part of the fold; of these bounds, one for each a, the least holds. A
single group has the fold to itself.

That holds whatever the weights' layout is: a depthwise convolution whose weights are repeated along a diagonal, so that a
row serves several neighbouring outputs, does more than one multiply-add a row and cycle, but never more than this.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.hw.spec import Matrix

_Floats = NDArray[np.float64]
_SHARES = (0.0, 0.5, 1.0)


class Product(NamedTuple):
    """pixels M, terms K, groups g, uses u and macs, the useful multiply-adds of all groups together."""

    pixels: int
    terms: int
    groups: int
    uses: int
    macs: int


@lru_cache(maxsize=1 << 12)
def peak_macs(product: Product, matrix: Matrix, widths: tuple[int, int]) -> float:
    """Useful multiply-adds a cycle, at most, with any dataflow; `widths` from `nas.timing.matrix.passes`."""
    single = product.groups == 1
    rows = np.arange(matrix.rows if single else 1, matrix.rows + 1, dtype=float)[:, None]
    columns = np.arange(matrix.columns if single else 1, matrix.columns + 1, dtype=float)
    rates = [_rate(product, which, rows, columns, matrix, widths) for which in range(3)]
    if single:
        return max(float(rate.max()) for rate in rates)
    parts = [share * rows / matrix.rows + (1 - share) * columns / matrix.columns for share in _SHARES]
    return max(min(float((rate / part).max()) for part in parts) for rate in rates)


def _rate(
    product: Product, which: int, rows: _Floats, columns: _Floats, matrix: Matrix, widths: tuple[int, int]
) -> _Floats:
    """The rate of one group for every number of rows and of columns; which: the row of the table above."""
    held = (product.pixels, product.terms, product.uses)[which]
    by_row = product.pixels if which == 2 else product.uses
    by_column = product.pixels if which == 1 else product.terms
    cells = rows * columns
    pace = np.minimum(np.minimum(rows * by_row, columns * by_column), cells)
    most = np.minimum(cells * held, product.macs / product.groups)
    slices, per_cycle = widths
    rate: _Floats = most / (most / pace * slices / per_cycle + matrix.rows + matrix.columns - 2)
    return rate
