"""Sliding windows over maps: the parts that convolution and pooling share.

A map is (channels, rows, columns). A tap is one place (row, column) of the kernel; its slice of the padded map holds what
every output reads through that place.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.ir.command import Window
from nas.ir.tensor import Format
from nas.sim.formats import encode, numbers
from nas.sim.memory import Raw

Element = TypeVar("Element", bound=np.generic)


def pad(values: NDArray[Element], window: Window, fill: float) -> NDArray[Element]:
    """The map with `fill` around it as far as the window's padding goes."""
    top, left, bottom, right = window.padding
    if not any(window.padding):
        return values
    channels, rows, columns = values.shape
    padded = np.full((channels, rows + top + bottom, columns + left + right), fill, values.dtype)
    padded[:, top : top + rows, left : left + columns] = values
    return padded


def taps(padded: NDArray[Element], window: Window) -> Iterator[tuple[int, int, NDArray[Element]]]:
    """(row, column, slice of shape (channels, output rows, output columns)) for each place of the kernel."""
    rows = (padded.shape[1] - window.dilation[0] * (window.kernel[0] - 1) - 1) // window.stride[0] + 1
    columns = (padded.shape[2] - window.dilation[1] * (window.kernel[1] - 1) - 1) // window.stride[1] + 1
    for row in range(window.kernel[0]):
        top = row * window.dilation[0]
        for column in range(window.kernel[1]):
            left = column * window.dilation[1]
            bottom, right = top + (rows - 1) * window.stride[0] + 1, left + (columns - 1) * window.stride[1] + 1
            yield row, column, padded[:, top : bottom : window.stride[0], left : right : window.stride[1]]


def max_pool(raw: Raw, form: Format, window: Window) -> Raw:
    """The largest element of each window; padding never wins. Codes are compared as codes, floats as numbers."""
    if not form.is_code:
        return encode(_largest(numbers(raw, form), window, -np.inf), form)
    if form.bits == 32:
        return _largest(raw.view(np.int32), window, np.iinfo(np.int32).min).view(np.uint32)
    return _largest(raw, window, 0)


def mean_pool(values: NDArray[np.float32], window: Window, count_padding: bool) -> NDArray[np.float32]:
    """The mean of each window, summed in float64 and rounded once."""
    sums = _sums(values.astype(np.float64), window)
    if count_padding:
        return (sums / (window.kernel[0] * window.kernel[1])).astype(np.float32)
    counts = _sums(np.ones((1, *values.shape[1:])), window)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (sums / counts).astype(np.float32)


def _largest(values: NDArray[Element], window: Window, fill: float) -> NDArray[Element]:
    largest: NDArray[Element] | None = None
    for _, _, part in taps(pad(values, window, fill), window):
        largest = part.copy() if largest is None else np.maximum(largest, part, out=largest)
    assert largest is not None
    return largest


def _sums(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    total: NDArray[np.float64] | None = None
    for _, _, part in taps(pad(values, window, 0.0), window):
        total = part.copy() if total is None else np.add(total, part, out=total)
    assert total is not None
    return total
