import multiprocessing
from pathlib import Path

import optuna
import pytest

from nas.core.errors import InputError
from nas.search.running.storage import FileLock, check_storage, open_storage


def _study(folder: Path) -> optuna.Study:
    storage = open_storage("journal", folder)
    return optuna.create_study(storage=storage, study_name="s", load_if_exists=True)


def test_sqlite_is_refused_and_the_error_says_why(tmp_path):
    with pytest.raises(InputError, match="sqlite loses trials"):
        open_storage("sqlite:///x.db", tmp_path)


def test_a_word_that_is_no_url_is_refused(tmp_path):
    with pytest.raises(InputError, match="journal"):
        open_storage("jurnal", tmp_path)


@pytest.mark.parametrize("url", ["foo://x", "mysql:x", "grpc://localhost:abc", "oracle://localhost/x"])
def test_a_url_that_nobody_can_open_is_refused_at_once(url):
    with pytest.raises(InputError, match="storage: expected"):
        check_storage(url)


def test_a_line_torn_by_a_kill_does_not_spoil_the_journal(tmp_path):
    study = _study(tmp_path)
    study.tell(study.ask(), 1.0)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    again = _study(tmp_path)
    again.tell(again.ask(), 2.0)
    assert [trial.value for trial in _study(tmp_path).trials] == [1.0, 2.0]


def _hold_and_die(path: Path) -> None:
    FileLock(path).acquire()
    multiprocessing.process.os._exit(9)


def test_a_lock_dies_with_its_holder(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(tmp_path / "x.lock",))
    process.start()
    process.join()
    assert FileLock(tmp_path / "x.lock").acquire(wait=False)


def test_a_lock_excludes_and_can_be_taken_again(tmp_path):
    first, second = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")
    with first:
        assert not second.acquire(wait=False)
    assert second.acquire(wait=False)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a place where a file can be written"):
        FileLock(tmp_path / "file" / "running.lock").acquire(wait=False)
