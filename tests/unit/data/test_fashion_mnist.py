"""The source `fashion_mnist` on files made here, byte by byte as the idx format says."""

import gzip
import struct
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from nas.core.errors import InputError
from nas.data import fashion_mnist
from nas.data.fashion_mnist import FashionMnist
from nas.data.source import DataConfig

PIXELS = np.random.default_rng(0).integers(0, 256, size=(30, 28, 28), dtype=np.uint8)
LABELS = (np.arange(30) % 10).astype(np.uint8)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as Debian's package installs it, with 30 images a split, and no network."""
    folder = tmp_path / "debian"
    folder.mkdir()
    for prefix in ("train", "t10k"):
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))

    def refuse(url: str, timeout: float) -> NoReturn:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", folder)
    monkeypatch.setattr(FashionMnist, "splits", {"train": 30, "test": 30})
    return folder


def load(packed: Path) -> None:
    FashionMnist(DataConfig(root=str(packed.parent / "root"))).load("train", 7)


def test_images_are_padded_and_repeated(packed: Path) -> None:
    split = FashionMnist(DataConfig(root=str(packed.parent / "root"))).load("test", 7)
    assert split.labels.tolist() == LABELS[:7].tolist()
    for channel in range(3):
        assert np.array_equal(split.images[:, channel, 2:30, 2:30].numpy(), PIXELS[:7])
    assert int(split.images.sum()) == 3 * int(PIXELS[:7].sum())  # nothing but black around them


def test_a_truncated_package_is_named(packed: Path) -> None:
    path = packed / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"debian/train-images-idx3-ubyte\.gz: expected a gzip file"):
        load(packed)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"\0\0\x08\x03", idx(PIXELS)[:-1], idx(PIXELS[:29]), idx(LABELS), bytes(99)]
)
def test_a_damaged_file_is_named(packed: Path, content: bytes) -> None:
    path = packed.parent / "root" / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match="raw/train-images-idx3-ubyte"):
        load(packed)


def test_a_label_out_of_range_is_named(packed: Path) -> None:
    (packed / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS + 1)))
    with pytest.raises(InputError, match="labels: expected 0 to 9, got 10"):
        load(packed)


def test_without_files_the_error_names_the_package(packed: Path) -> None:
    (packed / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError) as caught:
        load(packed)
    for part in ("no network here", "apt-get install dataset-fashion-mnist", "data=street_digits"):
        assert part in str(caught.value)
