"""A file that is not SVHN's Format 2 is refused, with its name and what is wrong."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from nas.core.errors import InputError
from nas.data.mat_file import check_mat_file

PIXELS = np.zeros((32, 32, 3, 5), dtype=np.uint8)
LABELS = np.array([[1], [2], [10], [4], [5]], dtype=np.uint8)


def test_a_sound_file_tells_its_images(mat_file: Path) -> None:
    assert check_mat_file(mat_file) == 100


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"X": PIXELS}, "y: expected a variable"),
        ({"Y": PIXELS, "y": LABELS}, "X: expected a variable"),
        ({"X": PIXELS.astype(np.float64), "y": LABELS}, "X: expected uint8, got double"),
        ({"X": PIXELS[:28], "y": LABELS}, r"X: expected the shape .*\(28, 32, 3, 5\)"),
        ({"X": PIXELS[..., 0], "y": LABELS}, r"X: expected the shape .*\(32, 32, 3\)"),
        ({"X": PIXELS.transpose(3, 2, 0, 1), "y": LABELS}, r"X: expected the shape .*\(5, 3, 32, 32\)"),
        ({"X": PIXELS, "y": LABELS[:4]}, r"y: expected the shape \(5, 1\)"),
        ({"X": PIXELS, "y": LABELS.T}, r"y: expected the shape \(5, 1\)"),
        ({"X": PIXELS, "y": LABELS - 1}, "y: expected labels from 1 to 10 .* got 0 for image 0"),
        ({"X": PIXELS, "y": LABELS + 1}, "y: expected labels from 1 to 10 .* got 11 for image 2"),
        ({"X": PIXELS, "y": LABELS + 0.5}, "y: expected integers"),
        ({"X": PIXELS, "y": "digits"}, "y: expected"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, variables: dict[str, object], complaint: str) -> None:
    path = tmp_path / "wrong_32x32.mat"
    savemat(path, variables)
    with pytest.raises(InputError, match=complaint) as caught:
        check_mat_file(path)
    assert str(path) in str(caught.value)


def test_labels_of_another_integer_type_are_fine(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"X": PIXELS, "y": LABELS.astype(np.float64)})
    assert check_mat_file(tmp_path / "a.mat") == 5


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "cut_32x32.mat"
    savemat(path, {"X": PIXELS, "y": LABELS}, do_compression=compressed)
    whole = path.read_bytes()
    cuts = {0, 1, 100, 127, 128, 130, 136, 200, len(whole) // 2, len(whole) - 100, len(whole) - 8, len(whole) - 1}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"cut_32x32\.mat"):
            check_mat_file(path)


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>" * 20, b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.mat: expected the header"):
        check_mat_file(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.mat", tmp_path):
        with pytest.raises(InputError, match="readable file"):
            check_mat_file(path)


def test_random_damage_never_ends_in_another_error(mat_file: Path) -> None:
    whole = mat_file.read_bytes()
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        # Half of the damage goes where the structure is: the headers at the front and at the back.
        place = generator.integers(len(whole))
        if generator.random() < 0.5:
            place = (
                120 + generator.integers(60) if generator.random() < 0.5 else len(whole) - 1 - generator.integers(60)
            )
        damaged[place] ^= 1 << generator.integers(8)
        mat_file.write_bytes(bytes(damaged))
        try:
            check_mat_file(mat_file)
        except InputError as error:
            refused += 1
            assert str(mat_file) in str(error)
    assert refused > 80
