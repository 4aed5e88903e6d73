"""The array's cycles against SCALE-Sim's published model, its own runs, and a count cell by cell."""

import itertools

import pytest

from nas.hw.spec import Matrix
from nas.ir.tensor import FLOAT32, Format
from nas.timing.matrix import array_cycles, passes

ONE_PASS = (1, 1)


def scale_sim(rows, columns, stream, matrix):
    """arXiv 1811.02883: (2 S_R + S_C + T - 2) cycles for each of the ceil(D_R / S_R) ceil(D_C / S_C) folds."""
    folds = -(-rows // matrix.rows) * -(-columns // matrix.columns)
    return folds, folds * (2 * matrix.rows + matrix.columns + stream - 2)


@pytest.mark.parametrize("array", [(8, 8), (32, 32), (16, 64), (128, 4)])
def test_agrees_with_scale_sim_but_for_the_double_buffer(array):
    matrix = Matrix(*array)
    for pixels, terms, channels in itertools.product((1, 7, 300), (1, 27, 576), (1, 32, 100)):
        for dataflow in ("weight_stationary", "output_stationary"):
            rows, stream = (terms, pixels) if dataflow == "weight_stationary" else (pixels, terms)
            folds, published = scale_sim(rows, channels, stream, matrix)
            ours = array_cycles(pixels, terms, channels, 1, dataflow, matrix, ONE_PASS)
            assert ours == published - (folds - 1) * matrix.rows


# SCALE-Sim 3.0.0, 32 x 32, weight-stationary: its cycles less its stalls, for layers of MobileNetV2. It counts from 0, so
# that its last cycle is one less than the number of cycles; and it rounds output sizes up.
@pytest.mark.parametrize(
    ("pixels", "terms", "channels", "cycles", "stalls"),
    [
        (113 * 113, 27, 32, 38549, 25687),  # features_0_0
        (112 * 112, 32, 16, 39673, 27036),  # features_1_conv_1
        (112 * 112, 288, 1, 360819, 247078),  # features_1_conv_0_0, which it takes for one channel
        (112 * 112, 16, 96, 113392, 75479),  # features_2_conv_0_0
    ],
)
def test_agrees_with_runs_of_scale_sim(pixels, terms, channels, cycles, stalls):
    matrix = Matrix(32, 32)
    folds, _ = scale_sim(terms, channels, pixels, matrix)
    ours = array_cycles(pixels, terms, channels, 1, "weight_stationary", matrix, ONE_PASS)
    assert ours + (folds - 1) * 32 == cycles - stalls + 1


def wavefront(rows, columns, stream):
    """The last cycle in which any cell of a rows x columns array works, item s entering cell (0, 0) in cycle s."""
    return 1 + max(s + r + c for s, r, c in itertools.product(range(stream), range(rows), range(columns)))


@pytest.mark.parametrize(("rows", "columns", "stream"), [(1, 1, 1), (2, 3, 5), (4, 4, 9)])
def test_one_fold_is_the_wavefront_and_the_loading(rows, columns, stream):
    matrix = Matrix(rows, columns)
    got = array_cycles(stream, rows, columns, 1, "weight_stationary", matrix, ONE_PASS)
    assert got == wavefront(rows, columns, stream) + rows


def test_small_groups_share_a_fold_along_the_diagonal():
    matrix = Matrix(32, 32)
    fold = 100 + 32 + 32 - 2
    # 9 terms fit three times into 32 rows: 10 depthwise channels take 4 folds.
    assert array_cycles(100, 9, 1, 10, "weight_stationary", matrix, ONE_PASS) == 4 * fold + 32
    assert array_cycles(100, 4, 16, 5, "weight_stationary", matrix, ONE_PASS) == 3 * fold + 32
    assert array_cycles(100, 40, 40, 2, "weight_stationary", matrix, ONE_PASS) == 8 * fold + 32


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "serial", "expected"),
    [
        (8, 8, False, 1),
        (4, 4, False, 1),
        (16, 8, False, 2),
        (32, 32, False, 16),
        (4, 8, True, 1 / 2),
        (1, 1, True, 1 / 64),
    ],
)
def test_passes(weight_bits, input_bits, serial, expected):
    def form(bits):
        return FLOAT32 if bits == 32 else Format(bits, "float" if bits == 16 else "code", levels=2**bits - 1)

    numerator, denominator = passes(form(weight_bits), form(input_bits), Matrix(8, 8, 8, serial))
    assert numerator / denominator == expected


@pytest.mark.parametrize("serial", [False, True])
def test_fewer_bits_are_never_slower(serial):
    matrix = Matrix(16, 16, 4, serial)
    for dataflow in ("weight_stationary", "output_stationary"):
        for fixed in (1, 4, 8, 16, 32):
            cycles = [
                array_cycles(33, 50, 20, 1, dataflow, matrix, passes(Format(fixed), Format(bits), matrix))
                for bits in (1, 2, 4, 8, 16, 32)
            ]
            assert cycles == sorted(cycles)
            assert cycles[0] < cycles[-1]
