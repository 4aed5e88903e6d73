"""What the data tests share: a small font bank, and files that real readers accept."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from nas.data.street_digits import glyphs
from nas.data.street_digits.glyphs import GlyphBank, make_glyph_bank


@pytest.fixture(scope="session")
def bank() -> GlyphBank:
    return make_glyph_bank(24)


@pytest.fixture
def few_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is filled in a moment; how many fonts there are changes no code path."""
    monkeypatch.setattr(glyphs, "FONTS", 2)


@pytest.fixture
def mat_file(tmp_path: Path) -> Path:
    """A sound SVHN file of 100 images, compressed as the published ones are."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, size=(32, 32, 3, 100), dtype=np.uint8)
    labels = (np.arange(100) % 10 + 1).astype(np.uint8)[:, None]
    path = tmp_path / "train_32x32.mat"
    savemat(path, {"X": pixels, "y": labels}, do_compression=True)
    return path
