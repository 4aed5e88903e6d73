"""Rows of features and their values -> a Gaussian process that predicts the values of other rows, and how sure it is.

Made for some tens of rows: of a small grid of kernels the one of greatest likelihood is taken, which takes milliseconds.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_LENGTHS = (1.0, 2.0, 4.0, 8.0)
_LINEAR = (0.0, 1.0)
_NOISE = (1e-3, 1e-2, 5e-2, 0.2)


class Process(NamedTuple):
    """A fitted Gaussian process: predicts means and standard deviations for rows of features."""

    predict: Callable[[Array], tuple[Array, Array]]


def fit(inputs: Array, targets: Array) -> Process:
    """The Gaussian process with the most likely kernel: squared exponential, perhaps with a linear part, and noise."""
    middle, spread = targets.mean(), targets.std() + 1e-9
    scaled = (targets - middle) / spread
    distance = _squared_distance(inputs, inputs)
    count = len(inputs)

    def attempt(length: float, linear: float, noise: float) -> tuple[float, Array, float]:
        kernel = np.exp(-distance / (2 * length**2)) + linear * (inputs @ inputs.T) + noise * np.eye(count)
        factor = np.linalg.cholesky(kernel)
        white = np.linalg.solve(factor, scaled)
        variance = float(white @ white) / count + 1e-12
        return -count / 2 * math.log(variance) - float(np.log(np.diag(factor)).sum()), factor, variance

    tried = [(*attempt(*kernel), kernel) for kernel in _kernels()]
    _, factor, variance, (length, linear, _) = max(tried, key=lambda item: item[0])
    weights = np.linalg.solve(factor.T, np.linalg.solve(factor, scaled))

    def predict(rows: Array) -> tuple[Array, Array]:
        cross = np.exp(-_squared_distance(rows, inputs) / (2 * length**2)) + linear * (rows @ inputs.T)
        explained = (np.linalg.solve(factor, cross.T) ** 2).sum(axis=0)
        own = 1 + linear * (rows**2).sum(axis=1)
        deviation = np.sqrt(np.maximum(own - explained, 1e-9) * variance)
        return cross @ weights * spread + middle, deviation * spread

    return Process(predict)


def _kernels() -> list[tuple[float, float, float]]:
    return [(length, linear, noise) for length in _LENGTHS for linear in _LINEAR for noise in _NOISE]


def _squared_distance(rows: Array, others: Array) -> Array:
    distance: Array = ((rows[:, None] - others[None]) ** 2).sum(axis=-1)
    return distance
