"""A folder of data in which nothing can be written is the user's to mend."""

from pathlib import Path

import pytest

from nas.core.errors import InputError
from nas.data.lock import exclusive
from nas.data.source import DataConfig
from nas.data.street_digits.source import StreetDigits


def test_a_place_that_cannot_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"file/\.lock: expected a place where a file can be written"),
        exclusive(tmp_path / "file" / ".lock"),
    ):
        pass


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a place where a file can be written"):
        StreetDigits(DataConfig(source="street_digits", root=str(tmp_path / "file"))).load("train", 16)
