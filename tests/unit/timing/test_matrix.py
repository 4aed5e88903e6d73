"""The array's cycles against SCALE-Sim's published model, its own runs, and an array that is stepped cell by cell."""

import itertools

import numpy as np
import pytest

from nas.hw.spec import Matrix
from nas.ir.tensor import FLOAT32, Format
from nas.timing.matrix import ARRAY_DATAFLOWS, array_cycles, passes

ONE_PASS = (1, 1)
# (S_R, S_C, T) of arXiv 1811.02883 by dataflow, of pixels M, terms K and channels N.
MAPPED = {
    "weight_stationary": lambda m, k, n: (k, n, m),
    "output_stationary": lambda m, k, n: (m, n, k),
    "input_stationary": lambda m, k, n: (k, m, n),
}


def test_every_dataflow_of_the_array_is_compared_here():
    assert set(MAPPED) == set(ARRAY_DATAFLOWS)


def scale_sim(rows, columns, stream, matrix):
    """arXiv 1811.02883: (2 S_R + S_C + T - 2) cycles for each of the ceil(D_R / S_R) ceil(D_C / S_C) folds."""
    folds = -(-rows // matrix.rows) * -(-columns // matrix.columns)
    return folds, folds * (2 * matrix.rows + matrix.columns + stream - 2)


@pytest.mark.parametrize("array", [(8, 8), (32, 32), (16, 64), (128, 4)])
def test_agrees_with_scale_sim_but_for_the_double_buffer(array):
    matrix = Matrix(*array)
    for pixels, terms, channels in itertools.product((1, 7, 300), (1, 27, 576), (1, 32, 100)):
        for dataflow, mapped in MAPPED.items():
            folds, published = scale_sim(*mapped(pixels, terms, channels), matrix)
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


# SCALE-Sim 3.0.0, 32 x 32, input-stationary: the length of its demand matrices, that is its cycles without stalls.
@pytest.mark.parametrize(
    ("pixels", "terms", "channels", "cycles"),
    [(49, 160, 960, 10540), (49, 96, 64, 948), (49, 144, 40, 1340), (1, 300, 1000, 10940)],
)
def test_agrees_with_runs_of_scale_sim_input_stationary(pixels, terms, channels, cycles):
    matrix = Matrix(32, 32)
    folds, _ = scale_sim(terms, pixels, channels, matrix)
    assert array_cycles(pixels, terms, channels, 1, "input_stationary", matrix, ONE_PASS) + (folds - 1) * 32 == cycles


# SCALE-Sim 3.0.0, output-stationary, without stalls. It counts from 0, and the sums of the last fold leave in no time.
@pytest.mark.parametrize(
    ("array", "pixels", "terms", "channels", "cycles"),
    [
        ((32, 32), 196, 144, 64, 2883),
        ((32, 32), 121, 147, 64, 1671),
        ((32, 32), 110, 30, 33, 735),
        ((32, 32), 1, 512, 1000, 18367),
        ((8, 8), 196, 144, 64, 31599),
        ((16, 64), 196, 24, 144, 3977),
        ((64, 16), 196, 144, 64, 3551),
        ((256, 256), 110, 30, 33, 539),
    ],
)
def test_agrees_with_runs_of_scale_sim_output_stationary(array, pixels, terms, channels, cycles):
    matrix = Matrix(*array)
    ours = array_cycles(pixels, terms, channels, 1, "output_stationary", matrix, ONE_PASS)
    assert ours - matrix.rows == cycles + 1


def held_fold(held, stream):
    """Cells that hold `held` (R x C), stepped while `stream` (T x R) comes in from the left, row r r cycles later, and sums go
    down: stream @ held as it comes out at the bottom, and the cycles that took.
    """
    rows, columns = held.shape
    result, found = np.zeros((len(stream), columns), int), 0
    passing, sums = np.zeros((rows, columns), int), np.zeros((rows, columns), int)
    cycle = 0
    while found < result.size:
        entering = [stream[cycle - r, r] if 0 <= cycle - r < len(stream) else 0 for r in range(rows)]
        passing = np.column_stack([entering, passing[:, :-1]])
        sums = np.vstack([np.zeros((1, columns), int), sums[:-1]]) + held * passing
        for column in range(columns):
            item = cycle - (rows - 1) - column
            if 0 <= item < len(stream):
                result[item, column] = sums[-1, column]
                found += 1
        cycle += 1
    return result, cycle


def sums_fold(left, top):
    """Cells that hold sums, while `left` (R x T) comes in from the left and `top` (T x C) from above: left @ top, and cycles."""
    (rows, length), columns = left.shape, top.shape[1]
    held = np.zeros((rows, columns), int)
    going_right, going_down = held.copy(), held.copy()
    counts = held.copy()
    cycle = 0
    while (counts < length).any():
        inside = [[0 <= cycle - r - c < length for c in range(columns)] for r in range(rows)]
        entering = [left[r, cycle - r] if 0 <= cycle - r < length else 0 for r in range(rows)]
        going_right = np.column_stack([entering, going_right[:, :-1]])
        entering = [top[cycle - c, c] if 0 <= cycle - c < length else 0 for c in range(columns)]
        going_down = np.vstack([entering, going_down[:-1]])
        held += going_right * going_down
        counts += inside
        cycle += 1
    return held, cycle


def stepped(data, weights, dataflow, matrix):
    """data (M x K) @ weights (K x N) fold by fold on an array that is stepped, and its cycles: the cells have a second
    register, so that only the first of what they hold, or the last of the sums, takes R cycles in which none computes.
    """
    (pixels, terms), channels = data.shape, weights.shape[1]
    result, cycles = np.zeros((pixels, channels), int), matrix.rows

    def parts(size, step):
        return [slice(start, min(start + step, size)) for start in range(0, size, step)]

    def padded(block, rows, columns):
        rows, columns = rows or block.shape[0], columns or block.shape[1]
        return np.pad(block, ((0, rows - block.shape[0]), (0, columns - block.shape[1])))

    def size(part):
        return part.stop - part.start

    if dataflow == "output_stationary":
        for m, n in itertools.product(parts(pixels, matrix.rows), parts(channels, matrix.columns)):
            sums, taken = sums_fold(padded(data[m], matrix.rows, 0), padded(weights[:, n], 0, matrix.columns))
            result[m, n] = sums[: size(m), : size(n)]
            cycles += taken
        return result, cycles
    weights_held = dataflow == "weight_stationary"
    held, stream = (weights, data) if weights_held else (data.T, weights.T)
    for k, c in itertools.product(parts(terms, matrix.rows), parts(held.shape[1], matrix.columns)):
        sums, taken = held_fold(padded(held[k, c], matrix.rows, matrix.columns), padded(stream[:, k], 0, matrix.rows))
        part = sums[:, : size(c)]
        if weights_held:
            result[:, c] += part
        else:
            result[c, :] += part.T
        cycles += taken
    return result, cycles


@pytest.mark.parametrize("array", [(1, 1), (2, 3), (4, 4), (5, 2)])
@pytest.mark.parametrize("dataflow", ARRAY_DATAFLOWS)
def test_an_array_stepped_cell_by_cell_takes_as_long(dataflow, array):
    matrix, generator = Matrix(*array), np.random.default_rng(3)
    for pixels, terms, channels in [(1, 1, 1), (4, 4, 4), (7, 9, 5), (3, 10, 17), (11, 2, 6)]:
        data, weights = generator.integers(-9, 9, (pixels, terms)), generator.integers(-9, 9, (terms, channels))
        result, cycles = stepped(data, weights, dataflow, matrix)
        np.testing.assert_array_equal(result, data @ weights)
        assert array_cycles(pixels, terms, channels, 1, dataflow, matrix, ONE_PASS) == cycles


def test_small_groups_share_a_fold_along_the_diagonal():
    matrix = Matrix(32, 32)
    fold = 100 + 32 + 32 - 2
    # 9 terms fit three times into 32 rows: 10 depthwise channels take 4 folds.
    assert array_cycles(100, 9, 1, 10, "weight_stationary", matrix, ONE_PASS) == 4 * fold + 32
    assert array_cycles(100, 4, 16, 5, "weight_stationary", matrix, ONE_PASS) == 3 * fold + 32
    assert array_cycles(100, 40, 40, 2, "weight_stationary", matrix, ONE_PASS) == 8 * fold + 32
    # With a stationary map 4 groups of 8 terms and 8 pixels share one.
    assert array_cycles(8, 8, 100, 5, "input_stationary", matrix, ONE_PASS) == 2 * fold + 32


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
    for dataflow in ARRAY_DATAFLOWS:
        for fixed in (1, 4, 8, 16, 32):
            cycles = [
                array_cycles(33, 50, 20, 1, dataflow, matrix, passes(Format(fixed), Format(bits), matrix))
                for bits in (1, 2, 4, 8, 16, 32)
            ]
            assert cycles == sorted(cycles)
            assert cycles[0] < cycles[-1]
