"""Fonts: skeletons that stay in their box, and fields that are distances."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.core.seeding import stream
from nas.data.street_digits.glyphs import (
    CELLS_PER_HEIGHT,
    UNITS_PER_HEIGHT,
    GlyphBank,
    draw_style,
    load_glyph_bank,
    make_glyph_bank,
)
from nas.data.street_digits.skeletons import skeleton


def test_skeletons_fill_the_box() -> None:
    generator = stream(0, "test", "styles")
    for _ in range(50):
        style = replace(draw_style(generator), wobble=0.0)
        for digit in range(10):
            points = np.concatenate(skeleton(digit, style))
            low, high = points.min(axis=0), points.max(axis=0)
            assert np.isfinite(points).all()
            assert -0.07 < low[0] <= high[0] < 1.07, digit
            assert abs(low[1]) < 0.12, digit
            assert abs(high[1] - 1) < 0.12, digit


def test_fields_have_ink_of_the_full_height_and_the_stated_width(bank: GlyphBank) -> None:
    ink = bank.fields[:-1] < 0
    rows, columns = ink.any(2).sum(1), ink.any(1).sum(1)
    assert (rows - CELLS_PER_HEIGHT).abs().max() <= 3
    widths = torch.from_numpy(bank.widths).reshape(-1) * CELLS_PER_HEIGHT
    assert (columns - widths).abs().max() <= 4
    assert not (bank.fields[bank.blank] < 0).any()


def test_fields_grow_as_distances_do(bank: GlyphBank) -> None:
    """A distance never changes by more than the way between two cells; stress stretches it by its inverse."""
    one_cell = UNITS_PER_HEIGHT / CELLS_PER_HEIGHT
    fields = bank.fields.float()
    for axis in (1, 2):
        steps = fields.diff(dim=axis).abs()
        assert steps.max() <= one_cell * 1.25 + 1
    near = fields[:-1].abs() < 60
    assert near.any(2).any(1).all()


def test_round_fields_are_exact_distances() -> None:
    """Against the plain distance from a point to a segment, for a few cells of a round font without stress."""
    generator = stream(0, "street_digits", "fonts", 1)
    styles = [draw_style(generator) for _ in range(24)]
    found = [font for font, style in enumerate(styles) if not style.square_ends and style.stress == 1.0]
    assert found, "no such font among the first 24"
    style, fields = styles[found[0]], make_glyph_bank(found[0] + 1).fields
    scale = np.array([style.width - 2 * style.radius, 1 - 2 * style.radius])
    for digit in range(10):
        strokes = [points * scale for points in skeleton(digit, style)]
        everything = np.concatenate(strokes)
        centre = (everything.min(axis=0) + everything.max(axis=0)) / 2
        for row, column in itertools.product(range(3, 47, 10), range(5, 41, 10)):
            cell = np.array([column - 20, row - 23]) / CELLS_PER_HEIGHT
            nearest = min(
                distance_to_segment(cell, start - centre, end - centre)
                for points in strokes
                for start, end in itertools.pairwise(points)
            )
            expected = min((nearest - style.radius) * UNITS_PER_HEIGHT, 127)
            assert abs(float(fields[found[0] * 10 + digit, row, column]) - expected) <= 0.6


def distance_to_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    way = end - start
    length_squared = float(way @ way)
    along = 0.0 if length_squared == 0 else min(1.0, max(0.0, float((point - start) @ way) / length_squared))
    return float(np.linalg.norm(point - start - along * way))


def test_more_fonts_leave_the_first_alone(bank: GlyphBank) -> None:
    assert torch.equal(make_glyph_bank(3).fields[:30], bank.fields[:30])


@pytest.mark.usefixtures("few_fonts")
def test_the_bank_is_kept_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    made = load_glyph_bank(tmp_path)
    (path,) = tmp_path.glob("*.npz")
    kept = load_glyph_bank(tmp_path)
    assert torch.equal(made.fields, kept.fields)
    assert np.array_equal(made.widths, kept.widths)
    whole = path.read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2], whole[:3000] + b"\xff" * 50 + whole[3050:]):
        path.write_bytes(content)
        assert torch.equal(load_glyph_bank(tmp_path).fields, made.fields)
