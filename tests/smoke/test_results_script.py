"""`python scripts/results.py` as a user runs it: a page of two small runs, and again after one run was lost."""

import shutil
from pathlib import Path

import pytest

from nas.report.pages.results import read_results
from nas.report.pages.results_page import results_page
from tests.commands import Ended, in_a_process, inside

SMALL = [
    "only=[svhn_net]",
    'budget=["trainer.epochs=0.5","trainer.batch_size=32","data.validation_images=64","data.test_images=64",'
    '"model.widths=[4,4,4,8]","model.fc_width=8"]',
    'data.street_digits=["data=street_digits","data.train_images=300"]',
    "~data.fashion_mnist",
]


def _results(folder: Path, *arguments: str) -> Ended:
    return inside("results", *SMALL, *arguments, here=folder)


@pytest.mark.slow
def test_makes_a_page_and_trains_only_what_is_missing(tmp_path: Path) -> None:
    first = in_a_process("results", *SMALL, "seeds=[0,1]", here=tmp_path)
    assert first.returncode == 0, first.stderr
    page = tmp_path / "runs/results/results.md"
    assert page.with_suffix(".png").stat().st_size > 1000
    record = read_results(page.with_suffix(".json"))
    assert [run.seed for run in record.runs] == [0, 1]
    assert page.read_text() == results_page(record, "results.png")
    folders = [tmp_path / f"runs/results/street_digits/svhn_net/seed_{seed}" for seed in (0, 1)]
    before = [(folder / "result.json").stat().st_mtime_ns for folder in folders]
    shutil.rmtree(folders[1])
    again = _results(tmp_path, "seeds=[0,1]")
    assert again.returncode == 0, again.stderr
    assert (folders[0] / "result.json").stat().st_mtime_ns == before[0], "a finished run is not trained again"
    assert (folders[1] / "result.json").stat().st_mtime_ns != before[1]


def test_a_wrong_name_is_told_in_one_line(tmp_path: Path) -> None:
    refused = _results(tmp_path, "only=[svhn_nett]")
    assert refused.returncode == 2
    assert "svhn_net" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs").exists()
