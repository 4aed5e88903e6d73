"""Records -> the Pareto front, as rows and as `best/`: for each network on it everything to use it or to train it on.

best/01_3f2a.../arch.json  weights.safetensors  cost.json  retrain.txt  and what the export wrote (compiled files)
"""

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import load_file

from nas.core.artifact import write_bytes, write_json
from nas.cost.model import Cost
from nas.search.running.evaluate import WEIGHTS_NAME, Parts
from nas.search.trials.objective import Reference
from nas.search.trials.pareto import front_indices
from nas.search.trials.record import Record, trial_folder

FRONT_KIND, FRONT_VERSION = "pareto_front", 1
COST_KIND, COST_VERSION = "cost", 1


class FrontRow(msgspec.Struct, frozen=True):
    """One network of the front. error: of the validation images it was chosen by; figures: of the export, such as test_error."""

    rank: int
    number: int
    key: str
    error: float
    error_low: float
    error_high: float
    cost: Cost
    network: dict[str, Any]
    hardware: dict[str, Any]
    folder: str
    figures: dict[str, Any] = {}


def within(records: Sequence[Record], reference: Reference) -> list[Record]:
    """The evaluated records that are worth something: no worse than the reference in error, nor in latency."""
    corner = reference.point
    return [
        record
        for record in records
        if record.point is not None and all(value <= most for value, most in zip(record.point, corner, strict=True))
    ]


def front(records: Sequence[Record], reference: Reference) -> list[Record]:
    """The non-dominated records within the reference point, the fastest first; where none is within, of all evaluated ones."""
    placed = within(records, reference) or [record for record in records if record.point is not None]
    points = [record.point for record in placed if record.point is not None]
    return [placed[index] for index in front_indices(points)]


def write_best(
    folder: Path, records: Sequence[Record], reference: Reference, parts: Parts, retrain_command: str
) -> list[FrontRow]:
    """Write `best/` and `front.json` of the search in `folder`, replacing those of an earlier run.

    reference: what is worse stays out, see `front`. retrain_command: a command in which {arch} stands for the path of the network's description.
    """
    fresh, best = folder / ".best", folder / "best"
    shutil.rmtree(fresh, ignore_errors=True)
    rows = []
    for rank, record in enumerate(front(records, reference), start=1):
        name = f"{rank:02d}_{record.key}"
        figures = _write_network(fresh / name, folder, record, parts)
        command = filled_in(retrain_command, best / name)
        write_bytes(fresh / name / "retrain.txt", f"{command}\n".encode())
        rows.append(_row(rank, record, f"best/{name}", figures))
    shutil.rmtree(best, ignore_errors=True)
    if fresh.exists():
        fresh.rename(best)
    write_json(folder / "front.json", rows, FRONT_KIND, FRONT_VERSION)
    return rows


def filled_in(retrain_command: str, place: Path) -> str:
    """The command for the network in the folder `place`, as a shell takes it."""
    return retrain_command.replace("{arch}", shlex.quote(str(place / "arch.json")))


def _write_network(place: Path, folder: Path, record: Record, parts: Parts) -> dict[str, Any]:
    network = parts.build(record.candidate.network)
    weights = trial_folder(folder, record.number) / WEIGHTS_NAME
    network.load_state_dict(load_file(weights))
    place.mkdir(parents=True)
    write_bytes(
        place / "arch.json", msgspec.json.format(msgspec.json.encode(record.candidate.network), indent=1) + b"\n"
    )
    if record.candidate.hardware:
        hardware = msgspec.json.format(msgspec.json.encode(record.candidate.hardware), indent=1)
        write_bytes(place / "hardware.json", hardware + b"\n")
    shutil.copyfile(weights, place / WEIGHTS_NAME)
    write_json(place / "cost.json", record.cost, COST_KIND, COST_VERSION)
    return parts.export(network.eval(), record, place) if parts.export is not None else {}


def _row(rank: int, record: Record, place: str, figures: dict[str, Any]) -> FrontRow:
    assert record.cost is not None and record.error is not None
    error = record.error
    low = error if record.error_low is None else record.error_low
    high = error if record.error_high is None else record.error_high
    candidate = record.candidate
    return FrontRow(
        rank,
        record.number,
        record.key,
        error,
        low,
        high,
        record.cost,
        candidate.network,
        candidate.hardware,
        place,
        figures,
    )
