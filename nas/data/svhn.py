"""SVHN's cropped digits, through torchvision: downloaded where there is a network, else from files put in place by hand.

Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011.
"""

import http.client
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import SVHN
from torchvision.datasets.utils import calculate_md5, download_url

from nas.core.errors import InputError
from nas.data.lock import exclusive
from nas.data.mat_file import READ_ERRORS, check_mat_file, refuse_truncated
from nas.data.source import DataConfig, Split, data_root, images_asked

SPLIT_IMAGES = {"train": 73257, "test": 26032, "extra": 531131}
_CONNECT_TIMEOUT_S = 10


class Svhn:
    """The source `svhn`: 73,257 + 531,131 photographs of house numbers to train with, and 26,032 to test."""

    name = "svhn"
    classes = 10
    channels = 3
    size_px = 32
    splits: Mapping[str, int] = SPLIT_IMAGES

    def __init__(self, config: DataConfig) -> None:
        self._folder = data_root(config) / "svhn"

    def load(self, split: str, images: int | None) -> Split:
        """See `Source.load`; the file is fetched first where it is missing."""
        count = images_asked(self, split, images)
        path = self._folder / SVHN.split_list[split][1]
        if not path.exists():
            with exclusive(self._folder / ".lock"):
                if not path.exists():
                    _download(split, path)
        return read_mat_split(SVHN, path, split, count)


def read_mat_split(reader: type[SVHN], path: Path, split: str, images: int) -> Split:
    """The first `images` images of the SVHN file `path`, read by torchvision's class or a subclass of it."""
    refuse_truncated(path)
    try:
        # It looks at the checksum first: some damaged bytes end scipy, and Python with it.
        data = reader(str(path.parent), split=split)
    except RuntimeError as error:  # torchvision's word for a wrong checksum
        hint = "the file differs from the published one: delete it, or put a fresh copy there"
        raise InputError(path, "MD5", SVHN.split_list[split][2], calculate_md5(str(path)), hint) from error
    except READ_ERRORS as error:
        raise InputError(
            path, "X", "readable pixels", f"{type(error).__name__}: {error}", "the file is damaged"
        ) from error
    available = check_mat_file(path)
    if available < images:
        raise InputError(path, "X", f"at least {images} images", available)
    pixels = np.ascontiguousarray(data.data[:images])
    return Split(torch.from_numpy(pixels), torch.from_numpy(data.labels[:images].copy()))


def _download(split: str, path: Path) -> None:
    """Fetch to a folder beside `path` first, so that `path` is whole or absent."""
    url, name, md5 = SVHN.split_list[split]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=_CONNECT_TIMEOUT_S):
            pass  # torchvision waits without limit for a host that never answers, so ask first
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            download_url(url, folder, name, md5)
            (Path(folder) / name).replace(path)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(
            path,
            "",
            f"SVHN's {name} (MD5 {md5})",
            f"no such file, and {url} cannot be fetched: {error}",
            f"put train_32x32.mat and test_32x32.mat, from {url.removesuffix(name)}, into {path.parent}; "
            "or use the generated digits: data=street_digits",
        ) from error
