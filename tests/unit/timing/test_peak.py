"""What an array can do at most for one product: above every fold that can be thought of, and every command there is."""

import itertools
import math

import numpy as np
import pytest

from nas.hw.spec import Matrix
from nas.timing.matrix import ARRAY_DATAFLOWS, array_cycles
from nas.timing.peak import Product, peak_macs


def boxes(most):
    return [(rows, columns) for rows in range(1, most + 1) for columns in range(1, most // rows + 1)]


def pairs(inputs, outputs, shift, kernel, stride):
    """Products between a box of places and a box of outputs of one channel, counted along either axis."""
    return math.prod(
        sum(
            0 <= place + shift[axis] - output * stride < kernel
            for place in range(inputs[axis])
            for output in range(outputs[axis])
        )
        for axis in (0, 1)
    )


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 1)])
@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (4, 9), (9, 4)])
@pytest.mark.parametrize("pixels", [4, 36, 400])
def test_no_fold_of_a_depthwise_convolution_is_better(kernel, stride, rows, columns, pixels):
    """Some channels side by side, of each a box of places and a box of outputs, with whole sums or parts of them.

    With stationary weights the boxes move over the map; with the others they stay, and so their products are done once.
    """
    matrix, groups, terms = Matrix(rows, columns), 16, kernel * kernel
    uses = math.ceil(kernel / stride) ** 2
    peak = peak_macs(Product(pixels, terms, groups, uses, groups * pixels * terms), matrix, (1, 1))
    fill = rows + columns - 2
    best = 0.0
    for outputs in boxes(min(columns, pixels)):
        size = math.prod(outputs)
        for inputs in boxes(rows):
            together = min(rows // math.prod(inputs), columns // size, groups)
            shifts = itertools.product(*(range(1 - inputs[i], outputs[i] * stride + kernel - 1) for i in (0, 1)))
            for shift in shifts:
                done = together * pairs(inputs, outputs, shift, kernel, stride)
                stream = pixels // size  # a box less than there are would be no whole one
                best = max(best, done * stream / (stream + fill))
    assert 0 < best <= peak * (1 + 1e-12)
    assert peak < 9 * best


@pytest.mark.parametrize("seed", range(4))
def test_no_command_is_better(seed):
    generator = np.random.default_rng(seed)
    for _ in range(150):
        matrix = Matrix(*(int(side) for side in generator.integers(1, 24, 2)))
        pixels, depth, kernel, channels, groups = (int(n) for n in generator.integers(1, [300, 40, 4, 60, 6]))
        widths = (int(generator.integers(1, 5)), int(generator.integers(1, 3)))
        terms, uses = depth * kernel * kernel, channels * kernel * kernel
        macs = pixels * terms * channels * groups
        peak = peak_macs(Product(pixels, terms, groups, uses, macs), matrix, widths)
        for dataflow in ARRAY_DATAFLOWS:
            cycles = array_cycles(pixels, terms, channels, groups, dataflow, matrix, widths)
            assert macs / cycles <= peak * (1 + 1e-12)


def test_by_hand():
    matrix = Matrix(8, 8)
    # All 64 cells for 100 cycles, filled and drained in 14; as many channels and terms as there may be.
    assert peak_macs(Product(100, 64, 1, 64, 100 * 64 * 64), matrix, (1, 1)) == pytest.approx(64 * 100 / 114)
    # One row of pixels, but a column for every channel, and sums as long as can be.
    vector = peak_macs(Product(1, 10**6, 1, 8, 8 * 10**6), matrix, (1, 1))
    assert vector == pytest.approx(8, rel=1e-3)
    assert peak_macs(Product(100, 64, 1, 64, 100 * 64 * 64), matrix, (4, 1)) == pytest.approx(64 * 100 / 414)
