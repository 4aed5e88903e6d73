"""A digit and a style -> the centre lines of its strokes.

A skeleton is a list of polylines, float64 (points, 2), x to the right and y downwards, in a unit box whose top is 0 and
whose bottom is 1. The pen that follows them comes later (`glyphs`), so one skeleton serves every weight.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Polyline = NDArray[np.float64]

_ARC_POINTS = 22


@dataclass(frozen=True)
class Style:
    """What tells one font from another; fractions are of the digit's height unless said otherwise.

    width: of the box of a zero.  power: exponent of the superellipses, 2 is an ellipse, 4 nearly a box.
    radius: half the stroke's weight.  square_ends: of the strokes; else round.
    stress: weight of the vertical strokes over that of the horizontal ones.
    waist: height of the upper bowls of 2, 3 and 8 and the inverse for 5, 6 and 9.  curl: 0 is a straight tail of 6 and 9.
    flag, foot: of the one.  seven_bend: 0 is a straight stem.  seven_serif: height of the seven's short left stroke.
    wobble: size of a smooth random warp, as of a hand or a bent sheet of metal; phase: its random angles.
    """

    width: float
    power: float
    radius: float
    square_ends: bool
    stress: float
    waist: float
    curl: float
    flag: float
    flag_drop: float
    foot: float
    four_open: bool
    four_bar: float
    three_flat: bool
    seven_bend: float
    seven_serif: float
    two_neck: float
    five_lean: float
    wobble: float
    phase: float


def skeleton(digit: int, style: Style) -> list[Polyline]:
    """The strokes of `digit`, 0 to 9, in the unit box; the one may be narrower than the box."""
    strokes = _DRAWERS[digit](style)
    return [_warp(points, style) for points in strokes]


def _warp(points: Polyline, style: Style) -> Polyline:
    x, y = points[:, 0], points[:, 1]
    shift_x = np.sin(2.1 * y * np.pi + style.phase) + 0.6 * np.sin(3.7 * y + 2.3 * style.phase)
    shift_y = np.sin(1.7 * x * np.pi + 1.9 * style.phase) + 0.6 * np.sin(2.9 * x + 3.1 * style.phase)
    return points + style.wobble * np.stack([shift_x, shift_y], axis=1)


def _line(*corners: tuple[float, float]) -> Polyline:
    return np.array(corners, dtype=np.float64)


def _arc(box: tuple[float, float, float, float], power: float, start_degrees: float, end_degrees: float) -> Polyline:
    """A superellipse arc in the box (left, top, right, bottom); 0 degrees is right, 90 degrees is down."""
    left, top, right, bottom = box
    angle = np.radians(np.linspace(start_degrees, end_degrees, _ARC_POINTS))
    cosine, sine = np.cos(angle), np.sin(angle)
    x = np.sign(cosine) * np.abs(cosine) ** (2 / power)
    y = np.sign(sine) * np.abs(sine) ** (2 / power)
    return np.stack([(left + right) / 2 + x * (right - left) / 2, (top + bottom) / 2 + y * (bottom - top) / 2], axis=1)


def _bezier(*controls: tuple[float, float]) -> Polyline:
    """A cubic Bézier curve through four control points."""
    t = np.linspace(0.0, 1.0, _ARC_POINTS // 2 + 3)[:, None]
    first, second, third, last = (np.array(point) for point in controls)
    return (1 - t) ** 3 * first + 3 * (1 - t) ** 2 * t * second + 3 * (1 - t) * t**2 * third + t**3 * last


def _zero(style: Style) -> list[Polyline]:
    return [_arc((0, 0, 1, 1), style.power, -90, 270)]


def _one(style: Style) -> list[Polyline]:
    strokes = [_line((0.5, 0), (0.5, 1))]
    if style.flag > 0:
        strokes.append(_line((0.5, 0), (0.5 - style.flag, style.flag_drop)))
    if style.foot > 0:
        strokes.append(_line((0.5 - style.foot, 1), (0.5 + style.foot, 1)))
    return strokes


def _two(style: Style) -> list[Polyline]:
    bowl = 1.1 * style.waist
    top = _arc((0.02, 0, 0.98, bowl), style.power, -170, 10)
    end = (float(top[-1, 0]), float(top[-1, 1]))
    neck = _bezier(end, (end[0] - 0.02, end[1] + 0.24), (style.two_neck, 0.72), (0.0, 1.0))
    return [np.concatenate([top, neck]), _line((0, 1), (1, 1))]


def _three(style: Style) -> list[Polyline]:
    middle = style.waist - 0.02
    lower = _arc((0, middle, 1, 1), style.power, -100, 160)
    if style.three_flat:
        return [_line((0.06, 0), (0.92, 0), (0.42, middle)), lower]
    upper = _arc((0.04, 0, 0.94, middle), style.power, -160, 92)
    return [upper, lower, _line((0.32, middle), (0.52, middle))]


def _four(style: Style) -> list[Polyline]:
    bar = style.four_bar
    if style.four_open:
        return [_line((0.2, 0), (0.04, bar), (1, bar)), _line((0.74, 0.22), (0.74, 1))]
    return [_line((0.74, 0), (0, bar), (1, bar)), _line((0.74, 0), (0.74, 1))]


def _five(style: Style) -> list[Polyline]:
    bowl_top = 0.88 - style.waist
    shoulder = (0.06 + style.five_lean / 2, bowl_top + 0.12)
    stem = _line((0.92, 0), (0.1 + style.five_lean, 0), shoulder)
    bowl = _arc((-0.02, bowl_top, 1, 1), style.power, -138, 155)
    return [stem, np.concatenate([np.array([shoulder]), bowl])]


def _six(style: Style) -> list[Polyline]:
    top = 0.86 - style.waist
    bowl = _arc((0, top, 1, 1), style.power, 180, 540)
    side = (0.0, (top + 1) / 2)
    tip = (0.62 + 0.3 * style.curl, 0.12 * style.curl * (style.curl > 0.6))
    tail = _bezier(side, (0.0, 0.30 - 0.06 * style.curl), (0.30, -0.08 * style.curl), tip)
    return [bowl, tail]


def _seven(style: Style) -> list[Polyline]:
    foot = 0.3
    stem = _bezier(
        (1, 0), (0.8 - 0.25 * style.seven_bend, 0.3), (foot + 0.24 - 0.24 * style.seven_bend, 0.62), (foot, 1)
    )
    strokes = [_line((0, 0), (1, 0)), stem]
    if style.seven_serif > 0:
        strokes.append(_line((0, 0), (0, style.seven_serif)))
    return strokes


def _eight(style: Style) -> list[Polyline]:
    middle = style.waist - 0.01
    return [_arc((0.06, 0, 0.94, middle), style.power, -90, 270), _arc((0, middle, 1, 1), style.power, -90, 270)]


def _nine(style: Style) -> list[Polyline]:
    return [1.0 - points for points in _six(style)]


_DRAWERS = (_zero, _one, _two, _three, _four, _five, _six, _seven, _eight, _nine)
