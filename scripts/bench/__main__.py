"""`python -m scripts.bench [names]`: run every bench of this folder, or those named; print and keep their figures.

A bench is a file of this folder with `NAME` and `run()`, which returns rows (what, value, unit).
"""

import argparse
import importlib
import statistics
import sys
from pathlib import Path
from types import ModuleType

import torch
from rich.console import Console

from nas.core.errors import CoevoError, InputError, suggestion
from nas.report.bench_table import BenchRow, bench_run, last_bench_run, print_bench_run, write_bench_run

_HERE = Path(__file__).resolve().parent


def benches() -> dict[str, ModuleType]:
    """All benches by name."""
    stems = sorted(path.stem for path in _HERE.glob("*.py") if not path.stem.startswith("_"))
    modules = [importlib.import_module(f"scripts.bench.{stem}") for stem in stems]
    return {module.NAME: module for module in modules}


def measure(bench: ModuleType, repeats: int) -> list[BenchRow]:
    """The median of each row over `repeats` runs."""
    runs = [{(what, unit): value for what, value, unit in bench.run()} for _ in range(repeats)]
    return [BenchRow(what, statistics.median(run[what, unit] for run in runs), unit) for what, unit in runs[0]]


def main() -> None:
    """Read the command line, run the benches."""
    parser = argparse.ArgumentParser("python -m scripts.bench", description="Measure this checkout on this machine.")
    parser.add_argument("names", nargs="*", help="benches to run (all)")
    parser.add_argument("--list", action="store_true", help="name the benches and stop")
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="runs, of which each figure is the median (1)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/bench"), help="where the figures are kept (runs/bench)"
    )
    arguments = parser.parse_args()
    console, known = Console(), benches()
    if arguments.list:
        for name, module in known.items():
            console.print(f"{name:16} {(module.__doc__ or '').splitlines()[0]}", highlight=False, soft_wrap=True)
        return
    for name in arguments.names:
        if name not in known:
            raise InputError("command line", "names", "a bench", repr(name), suggestion(name, known))
    if arguments.repeat < 1:
        raise InputError("command line", "--repeat", "1 or more", arguments.repeat)
    torch.set_num_threads(1)  # figures are of one core
    for name in arguments.names or known:
        before = last_bench_run(arguments.folder, name)
        run = bench_run(name, measure(known[name], arguments.repeat), arguments.repeat)
        print_bench_run(run, before, console)
        console.print(f"in {write_bench_run(arguments.folder, run)}\n", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    try:
        main()
    except CoevoError as error:
        sys.exit(f"error: {error}")
