"""Random styles -> a bank of glyphs as signed distance fields.

A field tells for every cell how far the pen's edge is: negative inside the ink, in units of the digit's height. Fields
are int8, `UNITS_PER_HEIGHT` to the height, on a grid of `CELLS_PER_HEIGHT` cells to the height, centred on the digit.
A field is small, can be enlarged without steps, and is made bolder or thinner by adding a number to it.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.core.artifact import write_with
from nas.core.seeding import stream
from nas.data.street_digits.skeletons import Polyline, Style, skeleton
from nas.data.street_digits.threads import one_thread

FONTS = 300
CELLS_PER_HEIGHT = 36
UNITS_PER_HEIGHT = 400
_ROWS, _COLUMNS = 47, 41
_BANK_VERSION = 1
_SHORTEST = 1e-4  # a shorter segment has no direction


@dataclass(frozen=True)
class GlyphBank:
    """fields: int8 (fonts * 10 + 1, rows, columns); the last one is blank.  widths: float32 (fonts, 10), ink included."""

    fields: Tensor
    widths: NDArray[np.float32]

    @property
    def fonts(self) -> int:
        """The number of fonts; glyph number font * 10 + digit is that font's digit."""
        return len(self.widths)

    @property
    def blank(self) -> int:
        """The number of the glyph without ink."""
        return len(self.fields) - 1


def load_glyph_bank(folder: Path) -> GlyphBank:
    """The bank, from a file in `folder`, or made (some seconds) and kept there."""
    path = folder / f"glyphs-{_BANK_VERSION}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            fields, widths = arrays["fields"], arrays["widths"]
        if (
            fields.shape == (FONTS * 10 + 1, _ROWS, _COLUMNS)
            and fields.dtype == np.int8
            and widths.shape == (FONTS, 10)
        ):
            return GlyphBank(torch.from_numpy(fields), widths)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # absent or damaged: it is ours, so it is simply made again
    bank = make_glyph_bank(FONTS)
    write_with(path, lambda temporary: np.savez(temporary, fields=bank.fields.numpy(), widths=bank.widths))
    return bank


@one_thread()
def make_glyph_bank(fonts: int) -> GlyphBank:
    """The first `fonts` fonts of the one family that every seed shares."""
    generator = stream(0, "street_digits", "fonts", _BANK_VERSION)
    cells = _cells()
    fields, widths = [], []
    for _ in range(fonts):
        style = draw_style(generator)
        for digit in range(10):
            strokes, width = _place(skeleton(digit, style), style)
            fields.append(_distance_field(strokes, style, cells))
            widths.append(width)
    fields.append(torch.full((_ROWS * _COLUMNS,), 127, dtype=torch.int8))
    bank = torch.stack(fields).reshape(-1, _ROWS, _COLUMNS)
    return GlyphBank(bank, np.array(widths, dtype=np.float32).reshape(fonts, 10))


def draw_style(generator: np.random.Generator) -> Style:
    """A random font."""
    uniform = generator.uniform
    chance = generator.random
    radius = uniform(0.042, 0.112)
    return Style(
        width=uniform(0.46, 0.68) + 0.6 * (radius - 0.07),
        power=uniform(2.0, 3.5),
        radius=radius,
        square_ends=bool(chance() < 0.65),
        stress=1.0 if chance() < 0.4 else uniform(0.9, 1.45),
        waist=uniform(0.43, 0.52),
        curl=uniform(0.0, 1.0),
        flag=0.0 if chance() < 0.25 else uniform(0.2, 0.5),
        flag_drop=uniform(0.1, 0.28),
        foot=uniform(0.3, 0.5) if chance() < 0.3 else 0.0,
        four_open=bool(chance() < 0.2),
        four_bar=uniform(0.62, 0.78),
        three_flat=bool(chance() < 0.15),
        seven_bend=uniform(0.0, 1.0),
        seven_serif=uniform(0.1, 0.16) if chance() < 0.15 else 0.0,
        two_neck=uniform(0.1, 0.5),
        five_lean=uniform(-0.04, 0.12),
        wobble=0.0 if chance() < 0.5 else uniform(0.0, 0.025),
        phase=uniform(0.0, 2 * np.pi),
    )


def _place(strokes: list[Polyline], style: Style) -> tuple[list[Polyline], float]:
    """Strokes moved so that their ink fills a height of one about the origin, and the ink's width."""
    scale = np.array([style.width - 2 * style.radius, 1 - 2 * style.radius])
    scaled = [points * scale for points in strokes]
    everything = np.concatenate(scaled)
    low, high = everything.min(axis=0), everything.max(axis=0)
    centre = (low + high) / 2
    return [points - centre for points in scaled], float(high[0] - low[0] + 2 * style.radius * style.stress)


def _distance_field(strokes: list[Polyline], style: Style, cells: Tensor) -> Tensor:
    """int8 (rows * columns): the distance of every cell (x, y, 1) to the nearest segment, less the pen's radius.

    In the frame of a segment a point is `across` from its line and `beyond` its ends; the larger of the two gives a
    square end, the root of their squares a round one. Stress is a pen wider than high: x is shrunk by it first.
    """
    shrink = torch.tensor([1 / style.stress, 1.0, 1 / style.stress, 1.0])
    segments = _segments(strokes, style.square_ends)
    start, end = (segments[:, :4] * shrink).split(2, dim=1)
    length = (end - start).norm(dim=1)
    along_axis = (end - start) / length[:, None]
    across_axis = along_axis.flip(1) * torch.tensor([1.0, -1.0])
    scaled = cells * torch.tensor([1 / style.stress, 1.0, 1.0])
    along, across = (scaled @ torch.cat([axis.T, -(axis * start).sum(1)[None]]) for axis in (along_axis, across_axis))
    across.square_()
    beyond = (along - along.clamp_min(0.0).minimum(length)).square_()
    distance = across + beyond
    if style.square_ends:
        square = torch.where(along < 0, segments[:, 4], segments[:, 5]) > 0
        distance = torch.where(square, torch.maximum(across, beyond), distance)
    field = distance.amin(1).sqrt_() - style.radius
    if style.square_ends:  # a slanting stroke is cut off level
        half_height = float(np.abs(np.concatenate(strokes)[:, 1]).max()) + style.radius
        field = torch.maximum(field, cells[:, 1].abs() - half_height)
    return (field * UNITS_PER_HEIGHT).round_().clamp_(-127, 127).to(torch.int8)


def _cells() -> Tensor:
    """float32 (rows * columns, 3): x, y and 1 of every cell, in heights from the digit's centre."""
    y, x = np.mgrid[0:_ROWS, 0:_COLUMNS].reshape(2, -1).astype(np.float32)
    centred = np.stack([x - (_COLUMNS - 1) / 2, y - (_ROWS - 1) / 2], axis=1) / CELLS_PER_HEIGHT
    return torch.from_numpy(np.column_stack([centred, np.ones_like(x)]).astype(np.float32))


def _segments(strokes: list[Polyline], square_ends: bool) -> Tensor:
    """Rows (start x, start y, end x, end y, square start, square end); ends and right-angled corners may be square."""
    rows = []
    for points in strokes:
        step = np.diff(points, axis=0)
        length = np.hypot(step[:, 0], step[:, 1])
        step, head, tail = (each[length > _SHORTEST] for each in (step, points[:-1], points[1:]))
        heading = np.arctan2(step[:, 1], step[:, 0])
        turn = np.abs(np.degrees(np.angle(np.exp(1j * np.diff(heading)))))
        corner = np.concatenate([[True], (turn > 60) & (turn < 100), [True]]) & square_ends
        closed = np.hypot(*(points[0] - points[-1])) < _SHORTEST
        corner[[0, -1]] &= not closed
        rows.append(np.column_stack([head, tail, corner[:-1], corner[1:]]))
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))
