"""Generated digits on disk: genuine SVHN files, written once whoever asks, and refused when damaged."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from torchvision.datasets import SVHN

from nas.core.errors import InputError
from nas.data.source import DataConfig
from nas.data.street_digits import files, glyphs
from nas.data.street_digits.files import ensure_split
from nas.data.street_digits.generate import generate_shard
from nas.data.street_digits.glyphs import make_glyph_bank
from nas.data.street_digits.source import GeneratedSVHN, StreetDigits

pytestmark = pytest.mark.usefixtures("few_fonts")


def source(root: Path, seed: int = 0) -> StreetDigits:
    return StreetDigits(DataConfig(root=str(root), seed=seed))


def test_the_file_is_svhns_format_2(tmp_path: Path) -> None:
    split = source(tmp_path).load("test", 1500)
    path = ensure_split(tmp_path / "street_digits", 0, "test", 1500)
    raw = loadmat(path)
    assert path.name == "test_32x32.mat"
    assert path.read_bytes().startswith(b"MATLAB 5.0 MAT-file")
    assert (raw["X"].shape, raw["X"].dtype) == ((32, 32, 3, 2048), np.uint8)
    assert (raw["y"].shape, raw["y"].dtype) == ((2048, 1), np.uint8)
    assert set(np.unique(raw["y"])) == set(range(1, 11))
    for index in (0, 1023, 1024, 1499):
        assert np.array_equal(split.images[index].numpy(), raw["X"][:, :, :, index].transpose(2, 0, 1))
        assert int(split.labels[index]) == int(raw["y"][index, 0]) % 10


def test_torchvisions_own_class_reads_it_but_for_the_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = source(tmp_path).load("test", 1000)
    path = ensure_split(tmp_path / "street_digits", 0, "test", 1000)
    with pytest.raises(RuntimeError):
        SVHN(str(path.parent), split="test")
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    dataset = SVHN(str(path.parent), split="test")
    assert np.array_equal(dataset.data[:1000], split.images.numpy())
    assert np.array_equal(dataset.labels[:1000], split.labels.numpy())
    own = {name for name in vars(GeneratedSVHN) if not name.startswith("__")} - {"_abc_impl"}
    assert own == {"_check_integrity"}


def test_the_first_images_are_the_same_however_many_are_asked(tmp_path: Path) -> None:
    few = source(tmp_path / "a").load("train", 700)
    many = source(tmp_path / "b").load("train", 2500)
    assert torch.equal(few.images, many.images[:700])
    assert torch.equal(few.labels, many.labels[:700])
    drawn, labels = generate_shard(0, "train", 0, make_glyph_bank(2))
    assert torch.equal(few.images, drawn[:700])
    assert np.array_equal(few.labels.numpy(), labels[:700])


def test_a_longer_file_serves_a_shorter_request(tmp_path: Path) -> None:
    source(tmp_path).load("train", 1500)
    source(tmp_path).load("train", 20)
    assert [path.parent.name for path in tmp_path.rglob("*.mat")] == ["train-2048"]


def test_folders_of_other_names_are_none_of_its_own(tmp_path: Path) -> None:
    source(tmp_path).load("train", 20)
    (path,) = tmp_path.rglob("train-*")
    (path.parent / "train-12old").mkdir()
    assert len(source(tmp_path).load("train", 20).images) == 20


def test_seeds_have_files_of_their_own(tmp_path: Path) -> None:
    one, two = (source(tmp_path, seed).load("train", 100) for seed in (0, 1))
    assert not torch.equal(one.images, two.images)
    assert len(list(tmp_path.rglob("*.mat"))) == 2


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    source(tmp_path).load("train", 10)
    (path,) = tmp_path.rglob("*.mat")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[100_000] ^= 1  # one bit of one pixel: nothing but the checksum can tell
    for content in (bytes(damaged), whole[:50_000], b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"train-1024/train_32x32\.mat"):
            source(tmp_path).load("train", 10)


def test_a_file_that_was_not_finished_is_made_again(tmp_path: Path) -> None:
    first = source(tmp_path).load("train", 10)
    (path,) = tmp_path.rglob("*.mat")
    path.write_bytes(b"half of it")
    files.checksum_path(path).unlink()
    assert torch.equal(source(tmp_path).load("train", 10).images, first.images)


def _ask(root: Path, queue: "multiprocessing.Queue[tuple[int, int]]") -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    glyphs.FONTS = 2
    drawn = 0
    original = files.generate_shard

    def counting(*arguments: object) -> object:
        nonlocal drawn
        drawn += 1
        return original(*arguments)  # type: ignore[arg-type]

    files.generate_shard = counting  # type: ignore[assignment]
    split = source(root).load("train", 1100)
    queue.put((drawn, int(split.images.sum())))


def test_of_several_processes_one_draws_and_all_read(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_ask, args=(tmp_path, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert sorted(drawn for drawn, _ in results) == [0, 0, 2]
    assert len({total for _, total in results}) == 1


def test_a_number_that_svhn_has_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 to 26032"):
        source(tmp_path).load("test", 26033)
