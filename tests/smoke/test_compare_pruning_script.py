"""`python scripts/compare_pruning.py` as a user runs it: a page, its record and its picture, and a second run that trains nothing."""

from pathlib import Path

from tests.commands import in_a_process, inside

SMALL = [
    "model.widths=[8,8,8,16]", "model.fc_width=16", "data.train_images=200", "data.validation_images=64",
    "data.test_images=64", "trainer.batch_size=32", "trainer.epochs=0.5", "method_trainer.epochs=0.5", "seeds=[0]",
    "points=[{name: half, price: one, share: 0.5, align: 2}]", "methods=[quota,even]", "folder=out",
]  # fmt: skip


def test_the_page_is_made_of_records_that_are_not_made_twice(tmp_path: Path) -> None:
    def run(*more: str, status: int = 0) -> str:
        done = inside("compare_pruning", *SMALL, *more, here=tmp_path)
        assert done.returncode == status, done.stderr
        return done.stderr

    first = in_a_process("compare_pruning", *SMALL, here=tmp_path)
    assert first.returncode == 0, first.stderr
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert "| **quota** |" in page
    assert "## half: at most 50 % of the whole network's channels" in page
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 5000
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "0").glob("half-*.json")}
    assert len(records) == 2
    run()
    assert records == {path: path.stat().st_mtime_ns for path in records}
    assert (tmp_path / "out" / "comparison.md").read_text() == page
    run("missing=skip", "seeds=[0,1]", "methods=[quota,even,random]")
    assert records == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "0").glob("half-*.json")}
    assert (tmp_path / "out" / "comparison.md").read_text() == page
    assert "the folder holds another run" in run("data.train_images=300", status=2)
