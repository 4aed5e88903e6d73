"""What every data source promises, whatever its pictures are."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import SVHN
from torchvision.datasets.utils import calculate_md5

from nas.core.errors import InputError
from nas.data import fashion_mnist
from nas.data.load import SOURCES, load_data
from nas.data.source import DataConfig, Source
from nas.data.street_digits import glyphs

IMAGES = 40


def _install_street_digits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to install; two fonts are made in a moment."""
    monkeypatch.setattr(glyphs, "FONTS", 2)


def _install_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    (root / "svhn").mkdir()
    for split in ("train", "test", "extra"):
        url, name, _ = SVHN.split_list[split]
        path = root / "svhn" / name
        pixels = generator.integers(0, 256, size=(32, 32, 3, 60), dtype=np.uint8)
        savemat(path, {"X": pixels, "y": generator.integers(1, 11, size=(60, 1), dtype=np.uint8)})
        monkeypatch.setitem(SVHN.split_list, split, [url, name, calculate_md5(str(path))])


def _install_fashion_mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "debian"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 60000), ("t10k", 10000)):
        labels = generator.integers(0, 10, size=count, dtype=np.uint8)
        header = struct.pack(">4I", 0x803, count, 28, 28)
        pixels = np.zeros((count, 28, 28), dtype=np.uint8)
        pixels[:IMAGES] = generator.integers(0, 256, size=(IMAGES, 28, 28), dtype=np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes(), 1))
        label_header = struct.pack(">2I", 0x801, count)
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(label_header + labels.tobytes(), 1))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", folder)


_INSTALLERS = {
    "street_digits": _install_street_digits,
    "svhn": _install_svhn,
    "fashion_mnist": _install_fashion_mnist,
}


@pytest.fixture(params=list(SOURCES))
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """A configuration of each source, with small files in place of those of the network."""
    _INSTALLERS[request.param](tmp_path, monkeypatch)
    return DataConfig(source=request.param, root=str(tmp_path), train_images=20, validation_images=10, test_images=15)


@pytest.fixture
def source(config: DataConfig) -> Source:
    return SOURCES[config.source](config)


def test_it_says_what_it_gives(source: Source, config: DataConfig) -> None:
    assert source.name == config.source
    assert {"train", "test"} <= set(source.splits)
    for split in source.splits:
        loaded = source.load(split, IMAGES)
        assert loaded.images.shape == (IMAGES, source.channels, source.size_px, source.size_px)
        assert loaded.images.dtype == torch.uint8
        assert loaded.images.is_contiguous()
        assert loaded.labels.dtype == torch.int64
        assert 0 <= int(loaded.labels.min()) <= int(loaded.labels.max()) < source.classes


def test_the_first_images_are_always_the_same(source: Source, config: DataConfig) -> None:
    more, fewer = source.load("train", IMAGES), SOURCES[config.source](config).load("train", 25)
    assert torch.equal(more.images[:25], fewer.images)
    assert torch.equal(more.labels[:25], fewer.labels)


def test_splits_differ(source: Source) -> None:
    pictures = [source.load(split, IMAGES).images for split in source.splits]
    for index, one in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert (one != other).flatten(1).any(1).all()


def test_nobody_can_spoil_what_the_next_gets(source: Source) -> None:
    before = source.load("train", IMAGES)
    copy = before.images.clone()
    before.images.zero_()
    assert torch.equal(source.load("train", IMAGES).images, copy)


def test_impossible_requests_are_refused(source: Source) -> None:
    with pytest.raises(InputError, match="split"):
        source.load("nonsense", 1)
    for images in (0, -5, source.splits["test"] + 1):
        with pytest.raises(InputError, match="images"):
            source.load("test", images)


def test_it_loads_as_configured(config: DataConfig) -> None:
    data = load_data(config, "cpu")
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 10, 15)
    whole = SOURCES[config.source](config).load("train", 30)
    assert torch.equal(torch.cat([data.train.images, data.validation.images]), whole.images)


@pytest.mark.skipif(not fashion_mnist.DEBIAN_FOLDER.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_installed_fashion_mnist_is_read(tmp_path: Path) -> None:
    source = SOURCES["fashion_mnist"](DataConfig(root=str(tmp_path)))
    test = source.load("test", None)
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    # Published mean and standard deviation of the training pixels: 0.2860 and 0.3530; the test pixels are close.
    pixels = test.images[:, 0, 2:30, 2:30].float() / 255
    assert abs(float(pixels.mean()) - 0.286) < 0.005
    assert abs(float(pixels.std()) - 0.353) < 0.005
    shutil.rmtree(tmp_path)
