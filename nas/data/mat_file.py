"""A file that claims to be SVHN's Format 2 -> nothing, or an `InputError` that says what is wrong with it.

Format 2 is a MATLAB 5 file with `X`, uint8 (32, 32, 3, n), and `y`, integers (n, 1) from 1 to 10, where 10 is the digit 0.
Only headers and labels are read here; the pixels are read once, by torchvision.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from nas.core.errors import InputError

# What scipy raises for bytes that are no MATLAB file, or no longer one.
READ_ERRORS = (
    *(MatReadError, OSError, EOFError, zlib.error, struct.error, ValueError, TypeError, KeyError, IndexError),
    *(OverflowError, NotImplementedError, MemoryError, UnicodeDecodeError, AssertionError),
)
_HEADER_BYTES = 128
_TAG_BYTES = 8


def check_mat_file(path: Path) -> int:
    """The number of images in `path`, if it is a sound SVHN file as far as headers and labels tell."""
    refuse_truncated(path)
    try:
        variables = {name: (shape, kind) for name, shape, kind in whosmat(path)}
    except READ_ERRORS as error:
        raise InputError(path, "", "a MATLAB 5 file", _reason(error), "the file is damaged") from error
    for name in ("X", "y"):
        if name not in variables:
            raise InputError(path, name, "a variable of that name", f"only {sorted(variables)}")
    shape, kind = variables["X"]
    if kind != "uint8":
        raise InputError(path, "X", "uint8", kind)
    if len(shape) != 4 or shape[:3] != (32, 32, 3) or shape[3] < 1:
        raise InputError(path, "X", "the shape (32, 32, 3, n)", shape)
    _check_labels(path, shape[3])
    return int(shape[3])


def _check_labels(path: Path, images: int) -> None:
    try:
        labels = np.asarray(loadmat(path, variable_names=["y"])["y"])
    except READ_ERRORS as error:
        raise InputError(path, "y", "readable labels", _reason(error), "the file is damaged") from error
    if labels.shape != (images, 1):
        raise InputError(path, "y", f"the shape ({images}, 1), as X has {images} images", labels.shape)
    if labels.dtype.kind not in "iuf" or (labels != np.floor(labels)).any():
        raise InputError(path, "y", "integers", labels.dtype)
    wrong = np.flatnonzero((labels < 1) | (labels > 10))
    if len(wrong):
        got = f"{labels[wrong[0], 0]} for image {wrong[0]}"
        raise InputError(path, "y", "labels from 1 to 10 (10 is the digit 0)", got, f"{len(wrong)} such labels")


def refuse_truncated(path: Path) -> None:
    """Walk the tags (type, length) of the file's elements: a file that was cut short ends inside one."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES or header[126:] not in (b"IM", b"MI"):
                got = f"{size_bytes} bytes that begin with {header[:16]!r}"
                raise InputError(path, "", "the header of a MATLAB 5 file", got)
            order = "<" if header[126:] == b"IM" else ">"
            end = _HEADER_BYTES
            while end < size_bytes:
                file.seek(end)
                tag = file.read(_TAG_BYTES)
                end += _TAG_BYTES
                if len(tag) == _TAG_BYTES:
                    end += struct.unpack(f"{order}II", tag)[1]
    except OSError as error:
        raise InputError(path, "", "a readable file", error.strerror or str(error)) from error
    if end != size_bytes:
        raise InputError(path, "length", f"{end} bytes, as the file itself says", size_bytes, "the file was cut short")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
