"""Records of pruning methods -> one record of the whole comparison, from which its page and its picture are made."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from nas.core.artifact import read_json, write_json
from nas.core.machine import Machine
from nas.report.pages.mean import Mean, mean_of
from nas.search.pruning.prune_compare import Point, PruneRecord

_KIND, _VERSION = "pruning_comparison", 1
_WHOLE = "whole"
CURRENCY = {"one": "channels", "parameters": "parameters", "cycles": "simulated cycles", "time": "training-step time"}


class Budget(msgspec.Struct, frozen=True):
    """What all methods had. whole_epochs, epochs: of the network that they start from, and of each method. test_split: where the
    test images come from, see `nas.data.source`.
    """

    source: str
    training_images: int
    test_images: int
    whole_epochs: float
    epochs: float
    batch_size: int
    learning_rate: float
    test_split: str = "test"


# Words of the command line that say where files of this machine lie: in no record.
PLACES = frozenset(["data.root", "folder", "page"])


class Comparison(msgspec.Struct, frozen=True):
    """points: in the order in which they are shown; records: of the whole networks too; words: of the command line that asked last."""

    machine: Machine
    budget: Budget
    points: tuple[Point, ...]
    records: tuple[PruneRecord, ...]
    words: tuple[str, ...] = ()

    def of(self, point: str, method: str) -> list[PruneRecord]:
        """By seed."""
        found = [record for record in self.records if (record.point, record.method) == (point, method)]
        return sorted(found, key=lambda record: record.seed)

    def whole(self) -> list[PruneRecord]:
        """The networks that all methods start from, by seed."""
        return self.of("", _WHOLE)

    def methods(self, point: str) -> list[str]:
        """That ran there, the least mean error first."""
        names = dict.fromkeys(record.method for record in self.records if record.point == point)
        return sorted(names, key=lambda name: mean_error(self.of(point, name)).value)

    def against(self, point: str, method: str, other: str) -> Mean | None:
        """How much larger the error of `method` is than that of `other`, in the mean over the seeds of both; None without any."""
        errors = [{record.seed: record.error.rate for record in self.of(point, name)} for name in (method, other)]
        seeds = sorted(errors[0].keys() & errors[1].keys())
        return mean_of([errors[0][seed] - errors[1][seed] for seed in seeds]) if seeds else None


def mean_error(records: Sequence[PruneRecord]) -> Mean:
    """Over the seeds."""
    return mean_of([record.error.rate for record in records])


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the record as JSON."""
    write_json(path, comparison, _KIND, _VERSION)


def read_comparison(path: Path) -> Comparison:
    """Read it back."""
    return read_json(path, Comparison, _KIND, _VERSION)
