"""Rows of a bench -> a table in the terminal and a file for each run, so that the next run can say what has changed.

A row is (what, value, unit). A file holds one run of one bench with the machine and the versions it ran on: times of
another machine say nothing, so only runs of the same machine are compared.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from nas.core.artifact import read_json, write_json
from nas.core.machine import processor_name, this_machine

_KIND, _VERSION = "bench", 1


class BenchRow(msgspec.Struct, frozen=True):
    """One figure of a bench."""

    what: str
    value: float
    unit: str


class BenchRun(msgspec.Struct, frozen=True):
    """One run of one bench: the median of `repeats` values for each row."""

    bench: str
    began: str
    machine: str
    cores: int
    python: str
    packages: dict[str, str]
    repeats: int
    rows: tuple[BenchRow, ...]


def bench_run(bench: str, rows: Sequence[BenchRow], repeats: int) -> BenchRun:
    """`rows` with the date, the machine and the versions of here and now."""
    here = this_machine()
    return BenchRun(
        bench=bench,
        began=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d_%H-%M-%S"),
        machine=here.processor,
        cores=here.cores,
        python=here.python,
        packages=here.packages,
        repeats=repeats,
        rows=tuple(rows),
    )


def write_bench_run(folder: Path, run: BenchRun) -> Path:
    """Write a file of its own for `run`; its path."""
    path = folder / run.bench / f"{run.began}.json"
    write_json(path, run, _KIND, _VERSION)
    return path


def last_bench_run(folder: Path, bench: str) -> BenchRun | None:
    """The latest run of `bench` on this machine that is in `folder`, if there is one."""
    for path in sorted((folder / bench).glob("*.json"), reverse=True):
        run = read_json(path, BenchRun, _KIND, _VERSION)
        if run.machine == processor_name():
            return run
    return None


def print_bench_run(run: BenchRun, before: BenchRun | None, console: Console) -> None:
    """A row for each figure, with the one of the run before beside it."""
    table = Table(title=run.bench, title_justify="left", box=None, pad_edge=False)
    table.add_column("what", min_width=30)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit")
    old = {(row.what, row.unit): row.value for row in before.rows} if before else {}
    if before:
        table.add_column(f"on {before.began}", justify="right", no_wrap=True)
        table.add_column("ratio", justify="right", no_wrap=True)
    for row in run.rows:
        was = old.get((row.what, row.unit))
        cells = [row.what, f"{row.value:,.4g}", row.unit]
        if before:
            cells += ["" if was is None else f"{was:,.4g}", f"{row.value / was:.2f}" if was else ""]
        table.add_row(*cells)
    console.print(table)
