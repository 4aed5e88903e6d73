"""How fast the generator of house numbers is, on the one thread that it uses: rows (what, value, unit)."""

import tempfile
import time
from pathlib import Path

from nas.data.source import DataConfig
from nas.data.street_digits.generate import SHARD_IMAGES, generate_shard
from nas.data.street_digits.glyphs import FONTS, make_glyph_bank
from nas.data.street_digits.source import StreetDigits

NAME = "street_digits"
_SHARDS = 4


def run() -> list[tuple[str, float, str]]:
    """Time the fonts, drawing, and reading back, in seconds of one core, so that a busy machine tells the same."""
    began_s = time.process_time()
    bank = make_glyph_bank(FONTS)
    fonts_s = time.process_time() - began_s

    generate_shard(0, "test", 0, bank)  # tables are made on first use
    began_s = time.process_time()
    for shard in range(_SHARDS):
        generate_shard(0, "train", shard, bank)
    drawing_s = time.process_time() - began_s

    with tempfile.TemporaryDirectory() as folder:
        source = StreetDigits(DataConfig(root=str(Path(folder))))
        source.load("test", _SHARDS * SHARD_IMAGES)
        began_s = time.process_time()
        source.load("test", _SHARDS * SHARD_IMAGES)
        reading_s = time.process_time() - began_s
    images = _SHARDS * SHARD_IMAGES
    return [
        ("make the font bank, once", fonts_s, "s"),
        ("draw, one core", images / drawing_s, "images/s"),
        ("read from the cache", images / reading_s, "images/s"),
    ]


if __name__ == "__main__":
    for what, value, unit in run():
        print(f"{what:30} {value:10.4g} {unit}")
