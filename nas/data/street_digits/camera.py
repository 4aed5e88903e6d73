"""Painted pictures at their native size -> uint8 photographs of 32 x 32: blur, noise, JPEG blocks, resize.

All of it is linear but the rounding of the JPEG coefficients, so it is four small matrix products a plane: into the
blurred block DCT (noise is added there: an orthonormal transform leaves white noise white), round, and out of it
straight to 32 pixels.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZE_PX = 32
NATIVE_SIZES_PX = (12, 16, 20, 24, 32, 40)
NATIVE_SHARES = (0.10, 0.18, 0.22, 0.22, 0.18, 0.10)
_BLUR_LEVELS = np.linspace(0.3, 0.9, 9)  # standard deviations, in native pixels
_BLOCK_PX = 8
_CHROMA_COARSENESS = 1.6  # colour is rounded that much more than light


@dataclass(frozen=True)
class Lens:
    """What the camera does to n pictures.

    native: int64 (n), index of the native size.  blur: int64 (n), level.  phase: int64 (n, 2), where the JPEG blocks
    begin, in pixels.  noise: float32 (n, 1, 1), standard deviation.  step: float32 (n, 1, 1), of JPEG, at medium frequency.
    """

    native: Tensor
    blur: Tensor
    phase: Tensor
    noise: Tensor
    step: Tensor


def draw_lens(generator: np.random.Generator, count: int) -> Lens:
    """Random cameras for `count` pictures."""
    column = (count, 1, 1)
    return Lens(
        native=torch.from_numpy(generator.choice(len(NATIVE_SIZES_PX), size=count, p=NATIVE_SHARES)),
        blur=torch.from_numpy(generator.integers(0, len(_BLUR_LEVELS), size=count)),
        phase=torch.from_numpy(generator.integers(0, _BLOCK_PX, size=(count, 2))),
        noise=torch.from_numpy(generator.uniform(0.0, 0.018, size=column).astype(np.float32)),
        step=torch.from_numpy(generator.uniform(0.02, 0.13, size=column).astype(np.float32)),
    )


def photograph(lens: Lens, luma: Tensor, chroma: Tensor, generator: np.random.Generator) -> Tensor:
    """uint8 (b, 3, 32, 32) RGB of luma (b, size, size) and chroma (b, 2, size, size)."""
    count, size_px = len(luma), luma.shape[-1]
    tables = _tables(size_px)
    row_phase, column_phase = lens.phase.unbind(1)
    # Planes lie as (b, row, plane, column): so a product with the rows, and one with the columns, are each a plain view.
    planes = torch.stack([luma, *chroma.div(_CHROMA_COARSENESS).unbind(1)], dim=2)
    spectrum = _transform(tables.blurred_dct[lens.blur, row_phase], planes, tables.blurred_dct[lens.blur, column_phase])
    noise = torch.from_numpy(generator.standard_normal((count, size_px, size_px), dtype=np.float32))
    spectrum[:, :, 0] += noise * lens.noise

    frequency = tables.frequency[row_phase][:, :, None] + tables.frequency[column_phase][:, None]
    step = (frequency * lens.step)[:, :, None]
    spectrum = spectrum.div_(step).round_().mul_(step)
    photo = _transform(tables.resized_inverse[row_phase], spectrum, tables.resized_inverse[column_phase])

    grey, blue, red = photo.mul_(255.0).unbind(2)
    rgb = torch.empty((count, 3, SIZE_PX, SIZE_PX))
    torch.add(grey, red, alpha=1.402 * _CHROMA_COARSENESS, out=rgb[:, 0])
    torch.add(grey, blue, alpha=-0.344 * _CHROMA_COARSENESS, out=rgb[:, 1])
    rgb[:, 1].add_(red, alpha=-0.714 * _CHROMA_COARSENESS)
    torch.add(grey, blue, alpha=1.772 * _CHROMA_COARSENESS, out=rgb[:, 2])
    return rgb.round_().clamp_(0, 255).to(torch.uint8)


def _transform(rows: Tensor, planes: Tensor, columns: Tensor) -> Tensor:
    """(b, r, planes, c): rows (b, r, s) times every plane of (b, s, planes, s) times columns (b, c, s) transposed."""
    count, size_px, depth, _ = planes.shape
    half = torch.bmm(rows, planes.reshape(count, size_px, depth * size_px))
    whole = torch.bmm(half.reshape(count, -1, size_px), columns.transpose(1, 2))
    return whole.reshape(count, rows.shape[1], depth, columns.shape[1])


@dataclass(frozen=True)
class _Tables:
    """blurred_dct: (blurs, 8, s, s).  resized_inverse: (8, 32, s).  frequency: (8, s), share of a coefficient's step."""

    blurred_dct: Tensor
    resized_inverse: Tensor
    frequency: Tensor


@functools.cache
def _tables(size_px: int) -> _Tables:
    transforms, frequencies = zip(*(_block_dct(size_px, phase) for phase in range(_BLOCK_PX)), strict=True)
    blurs = np.stack([_gaussian(size_px, float(sigma)) for sigma in _BLUR_LEVELS])
    dct = np.stack(transforms)
    return _Tables(
        blurred_dct=_float(np.einsum("pij,bjk->bpik", dct, blurs)),
        resized_inverse=_float(np.einsum("ij,pkj->pik", _cubic_resize(size_px), dct)),
        frequency=_float(0.3 + 1.2 * np.stack(frequencies)),
    )


def _block_dct(size_px: int, phase: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An orthonormal DCT-II of blocks of 8 pixels that begin at `phase`, and the frequency (0 to 1) of every row.

    The pieces of blocks at the two ends get a shorter DCT of their own.
    """
    borders = sorted({0, size_px, *range(phase, size_px, _BLOCK_PX)})
    transform, frequency = np.zeros((size_px, size_px)), np.zeros(size_px)
    for start, stop in itertools.pairwise(borders):
        length = stop - start
        order = np.arange(length)
        waves = np.cos(np.pi * (order[None] + 0.5) * order[:, None] / length) * np.sqrt(2 / length)
        waves[0] /= np.sqrt(2)
        transform[start:stop, start:stop] = waves
        frequency[start:stop] = order / _BLOCK_PX * (_BLOCK_PX / length)
    return transform, frequency


def _gaussian(size_px: int, sigma: float) -> NDArray[np.float64]:
    """(size_px, size_px): a Gaussian blur, its rows summing to one at the borders too."""
    distance = np.arange(size_px)[:, None] - np.arange(size_px)
    weights = np.exp(-0.5 * np.square(distance / sigma))
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic_resize(size_px: int) -> NDArray[np.float64]:
    """(32, size_px): Catmull-Rom interpolation, widened where the picture shrinks (R. Keys, 1981)."""
    scale = size_px / SIZE_PX
    centre = (np.arange(SIZE_PX) + 0.5) * scale - 0.5
    distance = np.abs(centre[:, None] - np.arange(size_px)) / max(1.0, scale)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def _float(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
