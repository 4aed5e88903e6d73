"""The configuration of a results page -> the trainings it needs, and, with their results, its record."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.core.errors import InputError, suggestion
from nas.core.machine import Machine
from nas.report.pages.results import Results, Run, merged

Key = tuple[str, str, int]  # data, network, seed


@dataclass(frozen=True)
class ResultsPlan:
    """What conf/results.yaml says; every choice is one on the command line of scripts/train.py, a network's after the budget's."""

    networks: dict[str, tuple[str, ...]]
    data: dict[str, tuple[str, ...]]
    budget: tuple[str, ...]
    full_budget: tuple[str, ...]
    seeds: tuple[int, ...]
    only: tuple[str, ...] | None
    orders: tuple[tuple[str, ...], ...]
    workers: int | None
    threads: int
    folder: str
    page: str

    def __post_init__(self) -> None:
        for name in ("networks", "data", "seeds"):
            if not getattr(self, name):
                raise InputError("results", name, "at least one", "none")
        for name, number in (("workers", self.workers), ("threads", self.threads)):
            if number is not None and number < 1:
                raise InputError("results", name, "at least 1", number)
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError("results", "seeds", "different ones", list(self.seeds))
        for order in self.orders:
            for network in order:
                if network not in self.networks:
                    raise InputError("results", "orders", f"names of networks: {', '.join(self.networks)}", network)
        for name in (*self.networks, *self.data):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise InputError("results", "networks, data", "names of letters, digits, _ and -", repr(name))
        for name in self.only or ():
            if name not in self.networks:
                raise InputError("results", "only", "a network", repr(name), suggestion(name, self.networks))

    def trainings(self) -> Iterator[tuple[Key, Path, tuple[str, ...]]]:
        """Every run with its folder and its arguments; the first seed of all first, so that a page is soon in sight."""
        for seed in self.seeds:
            for data, of_data in self.data.items():
                for network, of_network in self._chosen().items():
                    folder = Path(self.folder) / data / network / f"seed_{seed}"
                    choices = merged(of_data, self.budget, of_network, (f"trainer.seed={seed}", f"folder={folder}"))
                    yield (data, network, seed), folder, choices

    def results(self, machine: Machine, workers: int, runs: tuple[Run, ...]) -> Results:
        """The record of these runs."""
        networks = self._chosen()
        return Results(
            machine=machine,
            workers=workers,
            threads=self.threads,
            networks=networks,
            data=self.data,
            budget=self.budget,
            full_budget=self.full_budget,
            orders=tuple(order for order in self.orders if set(order) <= set(networks)),
            runs=runs,
        )

    def _chosen(self) -> dict[str, tuple[str, ...]]:
        return {name: choices for name, choices in self.networks.items() if self.only is None or name in self.only}
