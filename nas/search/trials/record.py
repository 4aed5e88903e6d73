"""What was measured of a candidate <-> `trials/0007/record.json`. The records are the truth that every report reads;
Optuna's storage is only the sampler's memory.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from nas.core.artifact import read_json, write_json
from nas.core.errors import Violation
from nas.cost.model import Cost
from nas.search.trials.candidate import Candidate

KIND, VERSION = "trial_record", 1
State = Literal["rejected", "evaluated", "failed", "stopped"]


class Record(msgspec.Struct, frozen=True):
    """One finished trial.

    state: "rejected" by a constraint before any training, "evaluated" to the end, "stopped" early, or "failed" with
    `traceback`. origin: what proposed it ("start", "mutation of 3", "tpe" ...). error: share of wrong validation images with
    its 95 % interval; curve: (step, error) where it was measured; seconds: of each rung that was climbed.
    """

    number: int
    key: str
    candidate: Candidate
    params: dict[str, Any]
    state: State
    origin: str = ""
    worker: str = ""
    seed: int = 0
    cost: Cost | None = None
    error: float | None = None
    error_low: float | None = None
    error_high: float | None = None
    curve: list[tuple[int, float]] = []
    steps: int = 0
    images_per_s: float = 0.0
    violations: list[Violation] = []
    seconds: dict[str, float] = {}
    traceback: str = ""
    finished_at: str = ""

    @property
    def trained(self) -> bool:
        """Whether it counts against the budget of trainings."""
        return self.state != "rejected"

    @property
    def point(self) -> tuple[float, float] | None:
        """(error, latency_s) of an evaluated candidate, else None: only these can be on a front."""
        if self.state != "evaluated" or self.error is None or self.cost is None:
            return None
        return self.error, self.cost.latency_s


def trial_folder(folder: Path, number: int) -> Path:
    """Where everything of one trial lies."""
    return folder / "trials" / f"{number:04d}"


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a trial of the search in `folder`, whole or not at all."""
    write_json(trial_folder(folder, record.number) / "record.json", record, KIND, VERSION)


class RecordBook:
    """All records of a search, read incrementally: a record never changes once it is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records: dict[int, Record] = {}

    def refresh(self) -> list[Record]:
        """Read what is new and return it, in order of number."""
        new = []
        for path in sorted((self.folder / "trials").glob("*/record.json")):
            if not path.parent.name.isdecimal():
                continue  # a copy that somebody has put aside
            number = int(path.parent.name)
            if number not in self._records:
                self._records[number] = read_json(path, Record, KIND, VERSION)
                new.append(self._records[number])
        return new

    @property
    def records(self) -> list[Record]:
        """Everything read so far, in order of number."""
        return [self._records[number] for number in sorted(self._records)]

    def get(self, number: int) -> Record | None:
        """The record of one trial, also when `refresh` has not seen it yet."""
        path = trial_folder(self.folder, number) / "record.json"
        if number not in self._records and path.exists():
            self._records[number] = read_json(path, Record, KIND, VERSION)
        return self._records.get(number)


def read_records(folder: Path) -> list[Record]:
    """All records of the search in `folder`."""
    book = RecordBook(folder)
    book.refresh()
    return book.records
