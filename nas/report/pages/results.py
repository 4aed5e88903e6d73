"""Runs of several networks on several data sets -> one record, from which the results page and its picture are made.

network: one of the page's rows, with the choices that make it on the command line of scripts/train.py.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from nas.core.artifact import read_json, write_json
from nas.core.machine import Machine
from nas.report.pages.mean import Mean, mean_of

_KIND, _VERSION = "results", 1


class Run(msgspec.Struct, frozen=True):
    """One network trained on one data set with one seed; errors: wrong answers in test `images`; processor_s: of
    the training, which others at the same machine hardly change.
    """

    data: str
    network: str
    seed: int
    errors: int
    images: int
    parameters: int
    steps: int
    processor_s: float

    @property
    def error_rate(self) -> float:
        """The share of wrong answers, 0 .. 1."""
        return self.errors / self.images


class Results(msgspec.Struct, frozen=True):
    """All runs of a page and how they were made.

    networks, data: name -> the choices on the command line; budget, full_budget: choices common to all, of these runs and
    of those that nobody had the time for; orders: names of networks whose error a paper says to rise. workers: trainings
    side by side, of `threads` CPU threads each.
    """

    machine: Machine
    workers: int
    threads: int
    networks: dict[str, tuple[str, ...]]
    data: dict[str, tuple[str, ...]]
    budget: tuple[str, ...]
    full_budget: tuple[str, ...]
    orders: tuple[tuple[str, ...], ...]
    runs: tuple[Run, ...]

    def of(self, data: str, network: str) -> list[Run]:
        """The runs of one row, by seed."""
        found = [run for run in self.runs if (run.data, run.network) == (data, network)]
        return sorted(found, key=lambda run: run.seed)


def merged(*choices: Sequence[str]) -> tuple[str, ...]:
    """Choices of a command line one after another, each key once: the last to name it says its value."""
    values = {choice.partition("=")[0]: choice for part in choices for choice in part}
    return tuple(values.values())


def mean_error(runs: Sequence[Run]) -> Mean:
    """Over the seeds: how far another seed is to be expected from it, not another set of test images."""
    return mean_of([run.error_rate for run in runs])


def write_results(path: Path, results: Results) -> None:
    """Write the record as JSON."""
    write_json(path, results, _KIND, _VERSION)


def read_results(path: Path) -> Results:
    """Read it back."""
    return read_json(path, Results, _KIND, _VERSION)
