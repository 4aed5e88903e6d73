"""Runs of a bench: kept, found again, compared."""

import io
from pathlib import Path

import msgspec
from rich.console import Console

from nas.report.bench_table import BenchRow, bench_run, last_bench_run, print_bench_run, write_bench_run

ROWS = (BenchRow("draw", 2000.0, "images/s"), BenchRow("read", 0.5, "s"))


def test_the_last_run_of_this_machine_is_found(tmp_path: Path) -> None:
    run = bench_run("digits", ROWS, 3)
    assert last_bench_run(tmp_path, "digits") is None
    for began, machine in (
        ("2024-01-01_00-00-00", run.machine),
        ("2024-01-02_00-00-00", run.machine),
        ("2025", "other"),
    ):
        write_bench_run(tmp_path, msgspec.structs.replace(run, began=began, machine=machine))
    found = last_bench_run(tmp_path, "digits")
    assert found == msgspec.structs.replace(run, began="2024-01-02_00-00-00")
    assert last_bench_run(tmp_path, "letters") is None
    assert run.machine
    assert run.packages["torch"]


def test_figures_stand_beside_those_before() -> None:
    text = io.StringIO()
    run = bench_run("digits", ROWS, 1)
    print_bench_run(
        run, msgspec.structs.replace(run, rows=(BenchRow("read", 0.25, "s"),)), Console(file=text, width=100)
    )
    read = next(line for line in text.getvalue().splitlines() if line.startswith("read"))
    assert read.split() == ["read", "0.5", "s", "0.25", "2.00"]
