"""The systolic array: one convolution or matrix product -> cycles.

Legend: R x C cells; M output pixels (before a fused pool), K = c/g * k * l terms of a sum, N = n/g channels, g groups.

    dataflow            lies still in the cells    rows hold    columns hold    streams
    weight-stationary   weights                    K            N               M
    output-stationary   sums                       M            N               K
    input-stationary    the map                    K            M               N

("lanes", the vector engine's dataflow, has no array and no place here.)

A fold is one filling of the array. It lasts stream + R + C - 2 cycles: the wavefront needs R + C - 2 cycles from one
corner to the other. Cells are double-buffered: the next fold's weights, or its part of the map, arrive (or the last fold's sums leave) while a
fold computes, and since a fold lasts at least R cycles they always do in time; only the first arrival (or the last
leaving) of R cycles is exposed. In all

    ceil(g / packed) * ceil(rows / R) * ceil(columns / C) * (stream + R + C - 2) + R.

Where a whole group fits more than once, `packed` groups share a fold along the diagonal of the array.

SCALE-Sim (arXiv 1811.02883, equation of its analytical model; what is held where by dataflow: its table of mappings) has
2 R + C + stream - 2 for each fold, that is the same for a single fold; for f folds it counts (f - 1) R more, as its cells
have a single buffer. Its simulator (3.0.0) has the same but for output-stationary arrays, which sums leave in no time: stream + R + C - 2
for each fold, R less in all than here. It knows no groups and no widths.

Operand widths: a cell takes operands of `cell_bits`. Wider ones go through slice by slice, ceil(bits / cell_bits) times
for each operand, their partial sums shifted and added behind the array, so that the stream is that much longer. In a
bit-serial array the stream scales with weight_bits * activation_bits / cell_bits^2, up and down (Bit Fusion, arXiv
1712.01507).
"""

from nas.hw.spec import Matrix
from nas.ir.command import Dataflow
from nas.ir.tensor import Format

ARRAY_DATAFLOWS: tuple[Dataflow, ...] = ("weight_stationary", "output_stationary", "input_stationary")


def array_cycles(
    pixels: int, terms: int, channels: int, groups: int, dataflow: Dataflow, matrix: Matrix, widths: tuple[int, int]
) -> int:
    """Cycles of the product of (pixels x terms) and (terms x channels) for each group; `widths` from `passes`."""
    rows, columns, stream = held_and_streamed(pixels, terms, channels, dataflow)
    packed = max(1, min(matrix.rows // rows, matrix.columns // columns)) if groups > 1 else 1
    folds = -(-groups // packed) * -(-rows // matrix.rows) * -(-columns // matrix.columns)
    slices, per_cycle = widths
    stream_cycles = -(-stream * slices // per_cycle)
    return folds * (stream_cycles + matrix.rows + matrix.columns - 2) + matrix.rows


def held_and_streamed(pixels: int, terms: int, channels: int, dataflow: Dataflow) -> tuple[int, int, int]:
    """What rows and columns of an array as large as needed would hold, and how long the stream through it is."""
    if dataflow == "weight_stationary":
        return terms, channels, pixels
    if dataflow == "output_stationary":
        return pixels, channels, terms
    return terms, pixels, channels


def passes(weight: Format, activation: Format, matrix: Matrix) -> tuple[int, int]:
    """How often a product goes through a cell, as a fraction (numerator, denominator) of whole cycles."""
    if matrix.bit_serial:
        return weight.bits * activation.bits, matrix.cell_bits * matrix.cell_bits
    return -(-weight.bits // matrix.cell_bits) * -(-activation.bits // matrix.cell_bits), 1
