"""What an array can do at most for one operator: above every command that a brute force can think of."""

import itertools

import numpy as np
import pytest

from nas.hw.spec import Matrix
from nas.timing.matrix import ARRAY_DATAFLOWS, array_cycles
from nas.timing.peak import Product, peak_macs


def best_command(product, matrix, widths):
    """Multiply-adds a cycle of the best command: all blocks, dataflows, numbers of rows of blocks, of channels and of groups,
    and of groups that are made as one, with zeros between them.
    """
    kernel_terms = product.depth * product.kernel[0] * product.kernel[1]
    best = 0.0
    for high, wide in itertools.product(*(range(1, side + 1) for side in product.sides)):
        terms = product.depth
        for size, step, block in zip(product.kernel, product.stride, (high, wide), strict=True):
            terms *= size + (block - 1) * step
        lines = -(-product.sides[0] // high)  # rows of blocks, the last of which may be cut off
        for count, channels in itertools.product(range(1, lines + 1), range(1, product.channels + 1)):
            blocks = product.images * count * -(-product.sides[1] // wide)
            outputs = product.images * min(count * high, product.sides[0]) * product.sides[1]
            for joined in range(1, product.groups + 1):
                for groups in {1, 2, 3, product.groups // joined}:
                    if groups * joined > product.groups:
                        continue
                    for dataflow in ARRAY_DATAFLOWS:
                        sums = joined * channels * high * wide
                        cycles = array_cycles(blocks, joined * terms, sums, groups, dataflow, matrix, widths)
                        best = max(best, outputs * channels * joined * groups * kernel_terms / cycles)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_no_command_is_better(seed):
    generator = np.random.default_rng(seed)
    for _ in range(12):
        matrix = Matrix(*(int(side) for side in generator.integers(1, 24, 2)))
        widths = (int(generator.integers(1, 5)), int(generator.integers(1, 3)))
        pair = lambda low, high: tuple(int(n) for n in generator.integers(low, high, 2))  # noqa: E731
        depth, channels, groups = (1, 1, int(generator.integers(1, 13)))
        if generator.random() < 0.5:
            depth, channels, groups = (int(n) for n in generator.integers(1, [30, 6, 5]))
        images = int(generator.integers(1, 3))
        product = Product(images, pair(1, 7), pair(1, 4), pair(1, 3), depth, channels, groups)
        assert best_command(product, matrix, widths) <= peak_macs(product, matrix, widths) * (1 + 1e-12)


def test_depthwise_peaks_are_close_to_what_there_is():
    for side in (4, 8, 12):
        product = Product(1, (side, side), (3, 3), (1, 1), 1, 1, 12)
        best, peak = (of(product, Matrix(16, 16), (1, 1)) for of in (best_command, peak_macs))
        assert best <= peak <= 2 * best


def test_by_hand():
    matrix = Matrix(8, 8)
    # All 64 cells for 100 cycles, filled and drained in 14; then with a stream four times as long.
    plain = Product(100, (1, 1), (1, 1), (1, 1), 64, 64, 1)
    assert peak_macs(plain, matrix, (1, 1)) == pytest.approx(64 * 100 / 114)
    assert peak_macs(plain, matrix, (4, 1)) == pytest.approx(64 * 100 / 414)
    # One pixel: its eight sums in a row, as long as can be.
    assert peak_macs(Product(1, (1, 1), (1, 1), (1, 1), 10**6, 8, 1), matrix, (1, 1)) == pytest.approx(8, rel=1e-3)
