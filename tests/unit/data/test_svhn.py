"""The source `svhn` on small files whose checksums take the place of the published ones; no network is touched."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from scipy.io import loadmat
from torchvision.datasets import SVHN
from torchvision.datasets.utils import calculate_md5

from nas.core.errors import InputError
from nas.data.source import DataConfig
from nas.data.svhn import Svhn


@pytest.fixture
def installed(mat_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder with a train file of 100 images whose checksum is the expected one."""
    folder = mat_file.parent / "svhn"
    folder.mkdir()
    path = mat_file.rename(folder / mat_file.name)
    monkeypatch.setitem(SVHN.split_list, "train", ["http://nowhere.invalid/", path.name, calculate_md5(str(path))])
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, timeout: float) -> NoReturn:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def source(path: Path) -> Svhn:
    return Svhn(DataConfig(source="svhn", root=str(path.parent.parent)))


def test_images_and_labels_are_those_of_the_file(installed: Path) -> None:
    split = source(installed).load("train", 12)
    raw = loadmat(installed)
    for index in range(12):
        assert np.array_equal(split.images[index].numpy(), raw["X"][:, :, :, index].transpose(2, 0, 1))
        assert int(split.labels[index]) == int(raw["y"][index, 0]) % 10
    assert split.images.is_contiguous()


def test_too_few_images_in_the_file(installed: Path) -> None:
    with pytest.raises(InputError, match="at least 101 images, got 100"):
        source(installed).load("train", 101)


def test_a_sound_file_with_another_checksum_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SVHN.split_list, "train", ["http://nowhere.invalid/", installed.name, "0" * 32])
    with pytest.raises(InputError, match=r"train_32x32\.mat: MD5: expected 0{32}, got [0-9a-f]{32}"):
        source(installed).load("train", 5)


def test_a_damaged_type_of_the_labels_is_refused_before_scipy_reads_it(installed: Path) -> None:
    """It ends the process where scipy does read it."""
    damaged = bytearray(installed.read_bytes())
    place = damaged.rfind(b"\x02\0\0\0")
    damaged[place + 1] = 0xF0
    installed.write_bytes(bytes(damaged))
    with pytest.raises(InputError, match=r"train_32x32\.mat: MD5"):
        source(installed).load("train", 5)


def test_damaged_pixels_are_refused_by_name(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = bytearray(installed.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    installed.write_bytes(bytes(damaged))
    with pytest.raises(InputError, match=r"train_32x32\.mat: MD5"):
        source(installed).load("train", 5)
    monkeypatch.setitem(SVHN.split_list, "train", ["", installed.name, calculate_md5(str(installed))])
    with pytest.raises(InputError, match=r"train_32x32\.mat: X: expected readable pixels, got error: Error -3"):
        source(installed).load("train", 5)


@pytest.mark.usefixtures("offline")
def test_offline_the_error_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Svhn(DataConfig(source="svhn", root=str(tmp_path))).load("test", 10)
    message = str(caught.value)
    for part in (str(tmp_path / "svhn" / "test_32x32.mat"), "train_32x32.mat", "no network here", "data=street_digits"):
        assert part in message
    assert not (tmp_path / "svhn" / "test_32x32.mat").exists()


def test_unknown_splits_and_impossible_numbers(installed: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'train'"):
        source(installed).load("trian", 5)
    for images in (0, -1, 73258):
        with pytest.raises(InputError, match="1 to 73257"):
            source(installed).load("train", images)
