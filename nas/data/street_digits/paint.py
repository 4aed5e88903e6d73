"""Placed numbers -> pictures of painted house numbers, before any camera.

Pictures are YCbCr, so that texture, gradient and most of the contrast are work on one plane: luma is float32
(b, size, size) with 0 black and 1 white, chroma (b, 2, size, size) about 0.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.street_digits.glyphs import GlyphBank
from nas.data.street_digits.layout import Layout, Placed, ink_distance

_BLUE_TINT = (0.015, -0.005)  # Cb, Cr: daylight in the shade


@dataclass(frozen=True)
class Light:
    """Colours and light of n pictures, float32; 0 switches a part off. Amounts are luma, lengths digit heights.

    wall, ink, around: (n, 3) YCbCr of the plate, the digits and what is beyond the plate.
    margin: (n, 2) of the plate beyond the number, sideways and up; far away where there is no plate.
    grain: (n, 4) luma of coarse, medium, fine and striped texture.  upright: (n, 1) the stripes' direction, 0 or 1.
    gradient: (n, 2) luma over the crop.  relief: (n, 3) offset x, y and strength of the digits' shadow.
    outline: (n, 2) width and luma of a rim.  shade: (n, 4) normal x, y, place and strength of a cast shadow.
    """

    wall: Tensor
    ink: Tensor
    around: Tensor
    margin: Tensor
    grain: Tensor
    upright: Tensor
    gradient: Tensor
    relief: Tensor
    outline: Tensor
    shade: Tensor


def draw_light(generator: np.random.Generator, count: int) -> Light:
    """Random colours and light for `count` pictures."""
    uniform, normal, chance = generator.uniform, generator.normal, generator.random
    wall_luma = np.clip(normal(0.445, 0.165, size=count), 0.04, 0.97)
    contrast = 0.13 + 0.49 * generator.beta(1.15, 2.2, size=count)
    lighter = chance(count) < 0.58
    room_above, room_below = 1.0 - wall_luma, wall_luma
    lighter = np.where(room_above < contrast, False, np.where(room_below < contrast, True, lighter))
    ink_luma = np.clip(wall_luma + np.where(lighter, contrast, -contrast), 0.0, 1.0)
    wall_chroma = _chroma(generator, count, 0.016)
    ink_chroma = 0.6 * wall_chroma + _chroma(generator, count, 0.016)

    around_luma = np.clip(wall_luma + normal(0.0, 0.18, size=count), 0.02, 0.98)
    around_chroma = 0.5 * wall_chroma + _chroma(generator, count, 0.022)
    has_plate = (chance(count) < 0.7)[:, None]
    margin = np.where(has_plate, uniform(0.04, 0.5, size=(count, 2)), 99.0)

    strength = np.minimum(np.abs(normal(0.0, 0.075, size=count)), 0.3 * contrast)
    shares = generator.dirichlet((1.2, 1.2, 0.8, 0.5), size=count) ** 0.5
    turn, place = uniform(0, 2 * np.pi, size=count), uniform(-0.35, 0.35, size=count)
    shade_strength = np.where(chance(count) < 0.2, uniform(0.15, 0.5, size=count), 0.0)
    relief_strength = np.where(chance(count) < 0.17, uniform(0.2, 0.6, size=count), 0.0)
    relief = np.stack([normal(0.0, 0.05, size=count), uniform(0.02, 0.08, size=count), relief_strength], axis=1)
    rim = np.where(chance(count) < 0.05, uniform(0.02, 0.05, size=count), 0.0)
    return Light(
        wall=_float(np.column_stack([wall_luma, wall_chroma])),
        ink=_float(np.column_stack([ink_luma, ink_chroma])),
        around=_float(np.column_stack([around_luma, around_chroma])),
        margin=_float(margin),
        grain=_float(strength[:, None] * shares),
        upright=_float((chance(count) < 0.3)[:, None]),
        gradient=_float(normal(0.0, 0.07, size=(count, 2))),
        relief=_float(relief),
        outline=_float(np.stack([rim, np.clip(1.0 - ink_luma, 0.1, 0.9)], axis=1)),
        shade=_float(np.stack([np.cos(turn), np.sin(turn), place, shade_strength], axis=1)),
    )


def paint(light: Light, layout: Layout, placed: Placed, bank: GlyphBank, texture: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (b, size, size) and chroma (b, 2, size, size); `texture` is luma of the same shape as the first."""
    size_px = texture.shape[-1]
    grain = texture.reshape(len(texture), -1)
    beyond = _beyond_plate(light, layout, placed)
    luma = (light.wall[:, :1] + grain).add_(beyond * (light.around - light.wall)[:, :1])
    chroma = light.wall[:, 1:, None] + beyond[:, None] * (light.around - light.wall)[:, 1:, None]
    _cast_relief(luma, light, layout, placed, bank)
    _paint_outline(luma, light, placed)

    ink = _coverage(placed.distance, placed.softness)
    luma.lerp_(light.ink[:, :1] + 0.5 * grain, ink)
    chroma.lerp_(light.ink[:, 1:, None].expand_as(chroma), ink[:, None].expand_as(chroma))

    steps = torch.linspace(-0.5, 0.5, size_px)
    across, down = steps.repeat(size_px), steps.repeat_interleave(size_px)
    luma += light.gradient[:, :1] * across + light.gradient[:, 1:] * down
    shaded = torch.nonzero(light.shade[:, 3]).squeeze(1)
    normal_x, normal_y, place, strength = light.shade[shaded].split(1, dim=1)
    lit = 1.0 - strength * (0.5 + 8.0 * (normal_x * across + normal_y * down - place)).clamp_(0.0, 1.0)
    luma[shaded] *= lit
    chroma[shaded] *= lit[:, None]
    return luma.reshape(-1, size_px, size_px), chroma.reshape(-1, 2, size_px, size_px)


def draw_texture(generator: np.random.Generator, light: Light, size_px: int) -> Tensor:
    """Luma (b, size, size) about 0: noise of three scales, and stripes as of boards or bricks."""
    coarse, medium, fine, stripes = light.grain[..., None].split(1, dim=1)
    total = _noise(generator, (len(light.grain), size_px, size_px)) * fine
    for amount, points in ((coarse, 5), (medium, max(6, size_px // 3))):
        spread = _interpolation(size_px, points)
        total += torch.matmul(torch.matmul(spread, _noise(generator, (len(amount), points, points)) * amount), spread.T)
    boards = torch.matmul(_noise(generator, (len(light.grain), size_px // 2)), _interpolation(size_px, size_px // 2).T)
    upright = light.upright[..., None]
    total += stripes * (upright * boards[:, None, :] + (1.0 - upright) * boards[:, :, None])
    return total


def _beyond_plate(light: Light, layout: Layout, placed: Placed) -> Tensor:
    left, right = layout.ends[:, :1] - light.margin[:, :1], layout.ends[:, 1:] + light.margin[:, :1]
    outside = torch.maximum(left - placed.x, placed.x - right)
    outside = torch.maximum(outside, placed.y.abs().sub_(0.5 + light.margin[:, 1:]))
    return outside.div_(placed.softness).add_(0.5).clamp_(0.0, 1.0)


def _cast_relief(luma: Tensor, light: Light, layout: Layout, placed: Placed, bank: GlyphBank) -> None:
    """Darken where raised digits throw a shadow."""
    raised = torch.nonzero(light.relief[:, 2]).squeeze(1)
    if not len(raised):
        return
    offset_x, offset_y, strength = light.relief[raised].split(1, dim=1)
    part = Layout(*(getattr(layout, name)[raised] for name in Layout.__dataclass_fields__))
    distance = ink_distance(part, bank, placed.x[raised] - offset_x, placed.y[raised] - offset_y)
    luma[raised] *= 1.0 - strength * _coverage(distance, 2.0 * placed.softness[raised])


def _paint_outline(luma: Tensor, light: Light, placed: Placed) -> None:
    """Paint the rim that the digits will leave visible around themselves."""
    rimmed = torch.nonzero(light.outline[:, 0]).squeeze(1)
    width, rim_luma = light.outline[rimmed].split(1, dim=1)
    rim = _coverage(placed.distance[rimmed] - width, placed.softness[rimmed])
    luma[rimmed] = torch.lerp(luma[rimmed], rim_luma.expand_as(rim), rim)


def _coverage(distance: Tensor, softness: Tensor) -> Tensor:
    """How much of a pixel lies inside the edge: the antialiasing of a box as wide as the pixel."""
    return (distance / softness).neg_().add_(0.5).clamp_(0.0, 1.0)


def _chroma(generator: np.random.Generator, count: int, scale: float) -> NDArray[np.float64]:
    """(count, 2) Cb and Cr with heavy tails, more along orange to blue than across."""
    along = scale * generator.standard_t(2.5, size=count)
    across = 0.3 * scale * generator.standard_t(3.5, size=count)
    pair = np.stack([0.9 * along + across, -0.9 * along + across], axis=1)
    return np.clip(pair, -0.2, 0.2) + np.array(_BLUE_TINT)


def _interpolation(size_px: int, points: int) -> Tensor:
    """(size_px, points): linear interpolation, scaled so that white noise keeps its variance on average."""
    place = np.linspace(0.0, points - 1.0, size_px)
    weights = np.clip(1.0 - np.abs(place[:, None] - np.arange(points)), 0.0, None)
    return _float(weights / np.sqrt(np.square(weights).sum(axis=1, keepdims=True)))


def _noise(generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def _float(values: NDArray[np.floating] | NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
