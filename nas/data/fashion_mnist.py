"""Fashion-MNIST: photographs of clothes, 28 x 28 grey, padded with black to 32 x 32 and repeated to three channels.

It is here as a check that nothing is tuned to the generated digits. The files come from Debian's package
dataset-fashion-mnist where it is installed, else from the network. H. Xiao et al., arXiv 1708.07747.
"""

import gzip
import http.client
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor
from torch.nn.functional import pad
from torchvision.datasets import FashionMNIST
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import download_url

from nas.core.artifact import write_bytes
from nas.core.errors import InputError
from nas.data.lock import exclusive
from nas.data.source import DataConfig, Split, data_root, images_asked

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_PREFIX = {"train": "train", "test": "t10k"}
_PAD_PX = 2
_CONNECT_TIMEOUT_S = 10
# What torchvision's reader raises for bytes that are no idx file.
_READ_ERRORS = (OSError, ValueError, TypeError, RuntimeError, AssertionError, KeyError, IndexError)


class FashionMnist:
    """The source `fashion_mnist`: 60,000 images to train with and 10,000 to test, of 10 kinds of clothes."""

    name = "fashion_mnist"
    classes = 10
    channels = 3
    size_px = 32
    splits: Mapping[str, int] = {"train": 60000, "test": 10000}

    def __init__(self, config: DataConfig) -> None:
        self._folder = data_root(config) / "FashionMNIST" / "raw"

    def load(self, split: str, images: int | None) -> Split:
        """See `Source.load`; the files are unpacked or fetched first where they are missing."""
        count, size = images_asked(self, split, images), self.splits[split]
        pictures = self._read(f"{_PREFIX[split]}-images-idx3-ubyte", read_image_file, (size, 28, 28))
        labels = self._read(f"{_PREFIX[split]}-labels-idx1-ubyte", read_label_file, (size,))
        if int(labels.max()) >= self.classes:
            path = self._folder / f"{_PREFIX[split]}-labels-idx1-ubyte"
            raise InputError(path, "labels", "0 to 9", int(labels.max()), "the file is damaged: delete it")
        padded = pad(pictures[:count], (_PAD_PX,) * 4).unsqueeze(1)
        return Split(padded.expand(-1, self.channels, -1, -1).contiguous(), labels[:count].clone())

    def _read(self, name: str, reader: Callable[[str], Tensor], shape: tuple[int, ...]) -> Tensor:
        path = self._folder / name
        if not path.exists():
            with exclusive(self._folder / ".lock"):
                if not path.exists():
                    write_bytes(path, _unpacked(name, path))
        try:
            values = reader(str(path))
        except _READ_ERRORS as error:
            got = f"{type(error).__name__}: {error}"
            raise InputError(path, "", f"an idx file of {shape}", got, "the file is damaged: delete it") from error
        if tuple(values.shape) != shape:
            raise InputError(path, "shape", str(shape), tuple(values.shape), "the file is damaged: delete it")
        return values


def _unpacked(name: str, path: Path) -> bytes:
    packed = DEBIAN_FOLDER / f"{name}.gz"
    if packed.exists():
        return _gunzip(packed)
    url = f"{FashionMNIST.mirrors[0]}{name}.gz"
    md5 = dict(FashionMNIST.resources)[f"{name}.gz"]
    try:
        with urllib.request.urlopen(url, timeout=_CONNECT_TIMEOUT_S):
            pass  # torchvision waits without limit for a host that never answers, so ask first
        with tempfile.TemporaryDirectory() as folder:
            download_url(url, folder, f"{name}.gz", md5)
            return _gunzip(Path(folder) / f"{name}.gz")
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(
            path,
            "",
            f"Fashion-MNIST's {name}",
            f"no such file, no {packed}, and {url} cannot be fetched: {error}",
            "run `apt-get install dataset-fashion-mnist`, or put that file there, or use data=street_digits",
        ) from error


def _gunzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, "", "a gzip file", f"{type(error).__name__}: {error}", "the file is damaged") from error
