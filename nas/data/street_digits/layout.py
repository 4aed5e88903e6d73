"""Labels -> where the strokes of each number lie in the crop, and how far every pixel is from them.

Positions in the crop are fractions of its side from its centre; positions in a number are heights of a digit from the
centre of the labelled one. Shapes: n or b images, 5 slots (the labelled digit, two to its left, two to its right).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.street_digits.glyphs import CELLS_PER_HEIGHT, UNITS_PER_HEIGHT, GlyphBank

_SLOTS = 5
_DIGITS_IN_NUMBER = (0.07, 0.50, 0.35, 0.08)  # probabilities of 1, 2, 3 and 4 digits


@dataclass(frozen=True)
class Layout:
    """Geometry of n numbers, float32 but for the glyphs.

    glyphs: int64 (n, 5), numbers in the bank.  centres: (n, 5) of the slots.  borders: (n, 4) between slots.
    ends: (n, 2) left and right end of the number.  offset: (n, 2) of the labelled digit, in crops.
    to_number: (n, 2, 2) takes crop positions to number positions.  tilt: (n, 2) perspective.
    heights: (n, 1) of a digit, in crops.  bolder: (n, 1) added to the pen's radius, in heights.
    """

    glyphs: Tensor
    centres: Tensor
    borders: Tensor
    ends: Tensor
    offset: Tensor
    to_number: Tensor
    tilt: Tensor
    heights: Tensor
    bolder: Tensor


@dataclass(frozen=True)
class Placed:
    """What painting needs to know of every pixel; all float32 (b, pixels).

    x, y: position in the number, in heights.  distance: to the nearest ink's edge, in heights, negative inside.
    softness: the size of a pixel in heights, (b, 1).
    """

    x: Tensor
    y: Tensor
    distance: Tensor
    softness: Tensor


def draw_layout(generator: np.random.Generator, labels: NDArray[np.int64], bank: GlyphBank) -> Layout:
    """Random numbers around `labels` (n), which are the digits at their centres, and how the camera sees them."""
    count = len(labels)
    uniform, normal = generator.uniform, generator.normal
    digits_in_number = generator.choice([1, 2, 3, 4], size=count, p=_DIGITS_IN_NUMBER)
    position = np.floor(generator.random(count) * digits_in_number)[:, None] + np.arange(-2, 3)
    exists = (position >= 0) & (position < digits_in_number[:, None])
    digits = generator.integers(0, 10, size=(count, _SLOTS))
    digits[:, 2] = labels
    fonts = generator.integers(0, bank.fonts, size=(count, 1))
    glyphs = np.where(exists, fonts * 10 + digits, bank.blank)

    widths = np.where(exists, bank.widths[fonts, digits], 0.3)
    gaps = uniform(0.03, 0.12, size=(count, 1))
    steps = (widths[:, :-1] + widths[:, 1:]) / 2 + gaps
    centres = np.concatenate([np.zeros((count, 1)), np.cumsum(steps, axis=1)], axis=1)
    centres -= centres[:, 2:3]
    borders = centres[:, :-1] + widths[:, :-1] / 2 + gaps / 2
    left = np.where(exists, centres - widths / 2, 0.0).min(axis=1)
    right = np.where(exists, centres + widths / 2, 0.0).max(axis=1)

    heights = np.clip(normal(0.84, 0.11, size=count), 0.5, 1.0)
    to_number = _inverse_affine(
        heights=heights,
        aspect=np.clip(np.exp(normal(-0.04, 0.14, size=count)), 0.68, 1.25),
        rotation=np.radians(normal(0.0, 6.0, size=count)),
        shear=normal(0.0, 0.13, size=count),
    )
    return Layout(
        glyphs=torch.from_numpy(glyphs),
        centres=_float(centres),
        borders=_float(borders),
        ends=_float(np.stack([left, right], axis=1)),
        offset=_float(np.clip(normal(0.0, 0.05, size=(count, 2)), -0.15, 0.15)),
        to_number=_float(to_number),
        tilt=_float(np.clip(normal(0.0, 0.1, size=(count, 2)), -0.3, 0.3)),
        heights=_float(heights[:, None]),
        bolder=_float(uniform(-0.012, 0.018, size=(count, 1))),
    )


def place(layout: Layout, bank: GlyphBank, size_px: int) -> Placed:
    """Every pixel of crops of `size_px` x `size_px`, row by row, in its number."""
    steps = (torch.arange(size_px, dtype=torch.float32) + 0.5) / size_px - 0.5
    crop_x = steps.repeat(size_px) - layout.offset[:, :1]
    crop_y = steps.repeat_interleave(size_px) - layout.offset[:, 1:]
    depth = (1.0 + layout.tilt[:, :1] * crop_x).add_(layout.tilt[:, 1:] * crop_y)
    crop_x /= depth
    crop_y /= depth
    axes = layout.to_number[..., None]
    x = (axes[:, 0, 0] * crop_x).add_(axes[:, 0, 1] * crop_y)
    y = (axes[:, 1, 0] * crop_x).add_(axes[:, 1, 1] * crop_y)
    return Placed(x, y, ink_distance(layout, bank, x, y), 1.0 / (size_px * layout.heights))


def ink_distance(layout: Layout, bank: GlyphBank, x: Tensor, y: Tensor) -> Tensor:
    """The distance of positions in the number (b, pixels) to the ink's edge: the field of the slot they fall into."""
    slot = torch.zeros(x.shape, dtype=torch.int64)
    for border in layout.borders.split(1, dim=1):
        slot += x > border
    _, rows, columns = bank.fields.shape
    column = (x - layout.centres.gather(1, slot)).mul_(CELLS_PER_HEIGHT).add_((columns - 1) / 2)
    row = (y * CELLS_PER_HEIGHT).add_((rows - 1) / 2)
    column.clamp_(0.0, columns - 1.001)
    row.clamp_(0.0, rows - 1.001)
    cell_column, cell_row = column.floor(), row.floor()
    column -= cell_column
    row -= cell_row
    cell = layout.glyphs.gather(1, slot).mul_(rows * columns)
    cell += cell_row.mul_(columns).add_(cell_column).long()  # below 2 ** 24: exact in float32
    fields = bank.fields.reshape(-1)
    upper_left, upper_right = fields.take(cell).float(), fields.take(cell + 1).float()
    cell += columns
    lower_left, lower_right = fields.take(cell).float(), fields.take(cell + 1).float()
    upper = upper_left.lerp_(upper_right, column)
    lower = lower_left.lerp_(lower_right, column)
    return upper.lerp_(lower, row).div_(UNITS_PER_HEIGHT).sub_(layout.bolder)


def _inverse_affine(
    heights: NDArray[np.float64], aspect: NDArray[np.float64], rotation: NDArray[np.float64], shear: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, 2, 2): the inverse of number -> crop, which stretches by aspect, shears, rotates and scales by height."""
    cosine, sine = np.cos(rotation), np.sin(rotation)
    zero, one = np.zeros_like(shear), np.ones_like(shear)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    slant = np.array([[aspect, shear], [zero, one]])
    forward = np.einsum("ijn,jkn->nik", turn, slant) * heights[:, None, None]
    return np.linalg.inv(forward)


def _float(values: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
