"""The source `street_digits`: generated house numbers in genuine SVHN files, read by the code that reads SVHN.

Results on it are always named so, never as results on SVHN.
"""

from collections.abc import Mapping
from pathlib import Path

from torchvision.datasets import SVHN
from torchvision.datasets.utils import check_integrity

from nas.data.source import DataConfig, Split, data_root, images_asked
from nas.data.street_digits.files import checksum_path, ensure_split
from nas.data.svhn import SPLIT_IMAGES, read_mat_split


class GeneratedSVHN(SVHN):
    """torchvision's SVHN for files whose checksum is the one that was noted when they were written."""

    def _check_integrity(self) -> bool:
        path = Path(self.root) / self.filename
        return check_integrity(path, checksum_path(path).read_text().strip())


class StreetDigits:
    """Splits, sizes and label frequencies are SVHN's; the pictures are drawn, with `config.seed`, when first asked for."""

    name = "street_digits"
    classes = 10
    channels = 3
    size_px = 32
    splits: Mapping[str, int] = SPLIT_IMAGES

    def __init__(self, config: DataConfig) -> None:
        self._folder = data_root(config) / "street_digits"
        self._seed = config.seed

    def load(self, split: str, images: int | None) -> Split:
        """See `Source.load`; whole shards are generated and kept, and a longer file serves a shorter request."""
        count = images_asked(self, split, images)
        path = ensure_split(self._folder, self._seed, split, count)
        return read_mat_split(GeneratedSVHN, path, split, count)
