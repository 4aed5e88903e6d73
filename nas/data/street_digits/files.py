"""(seed, split, number of images) -> an SVHN Format 2 file that holds at least so many, generated once and kept.

    folder/glyphs-1.npz
    folder/seed-0-1/train-12288/train_32x32.mat, train_32x32.mat.md5

The 1 is the generator's version: raise it with every change of the pictures. Processes that ask at once wait for the
first of them. The checksum is written last, so a file without one is not finished.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.io import savemat
from torchvision.datasets import SVHN
from torchvision.datasets.utils import calculate_md5

from nas.core.artifact import write_bytes, write_with
from nas.core.units import ceil_div
from nas.data.lock import exclusive
from nas.data.street_digits.camera import SIZE_PX
from nas.data.street_digits.generate import DIGIT_COUNTS, SHARD_IMAGES, generate_shard
from nas.data.street_digits.glyphs import load_glyph_bank

GENERATOR_VERSION = 1
_QUIET_S = 2.0


def ensure_split(folder: Path, seed: int, split: str, images: int) -> Path:
    """The path of a file with the first `images` images of `split` or more, generated now where there is none."""
    home = folder / f"seed-{seed}-{GENERATOR_VERSION}"
    found = _find(home, split, images)
    if found is not None:
        return found
    with exclusive(home / f".{split}.lock"):
        found = _find(home, split, images)
        if found is not None:  # another process made it while this one waited
            return found
        stored = min(ceil_div(images, SHARD_IMAGES) * SHARD_IMAGES, sum(DIGIT_COUNTS[split]))
        path = home / f"{split}-{stored}" / SVHN.split_list[split][1]
        _write(path, folder, seed, split, stored)
        return path


def checksum_path(path: Path | str) -> Path:
    """Where the MD5 of the generated file `path` is kept."""
    return Path(f"{path}.md5")


def _find(home: Path, split: str, images: int) -> Path | None:
    """The smallest finished file with enough images."""
    ends = (entry.name.rsplit("-", 1)[1] for entry in home.glob(f"{split}-[0-9]*"))
    sizes = sorted(int(end) for end in ends if end.isdecimal())
    for size in sizes:
        path = home / f"{split}-{size}" / SVHN.split_list[split][1]
        if size >= images and path.exists() and checksum_path(path).exists():
            return path
    return None


def _write(path: Path, folder: Path, seed: int, split: str, images: int) -> None:
    bank = load_glyph_bank(folder)
    # MATLAB's arrays lie the other way round: X (row, column, channel, image) is the reverse of (image, channel, column, row).
    pixels = np.empty((images, 3, SIZE_PX, SIZE_PX), dtype=np.uint8)
    labels = np.empty((images, 1), dtype=np.uint8)
    for shard in _with_progress(ceil_div(images, SHARD_IMAGES), f"drawing street_digits/{split}"):
        place = slice(shard * SHARD_IMAGES, min(images, (shard + 1) * SHARD_IMAGES))
        pictures, digits = generate_shard(seed, split, shard, bank)
        pixels[place] = pictures.transpose(2, 3).numpy()
        labels[place, 0] = np.where(digits == 0, 10, digits)
    variables: dict[str, NDArray[np.uint8]] = {"X": pixels.T, "y": labels}
    write_with(path, lambda temporary: savemat(temporary, variables, appendmat=False))
    write_bytes(checksum_path(path), calculate_md5(str(path)).encode())


def _with_progress(shards: int, what: str) -> Iterator[int]:
    """0 to shards - 1, with a bar on a terminal's error stream once it has taken two seconds."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task(what, total=shards * SHARD_IMAGES)
    began_s = time.monotonic()
    try:
        for shard in range(shards):
            yield shard
            progress.advance(task, SHARD_IMAGES)
            if time.monotonic() - began_s > _QUIET_S and not progress.live.is_started:
                progress.start()
    finally:
        progress.stop()
