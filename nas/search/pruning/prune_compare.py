"""Points, methods and seeds -> records, a file each: what is there already is not run again.

<folder>/<seed>/whole/ is the network that all methods of a seed start from; <folder>/<seed>/<point>-<method>.json a record;
<folder>/<seed>/<point>-prices.json what was measured of prices, so that all methods are held to the same;
<folder>/points/<point>/settings.json what a point of this name means there, and on which hardware.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from torch import nn

from nas.core.artifact import read_json, write_json
from nas.core.errors import Violation, refuse_other
from nas.cost.model import CostModel
from nas.data.load import Data
from nas.quota.channels.find import find_groups
from nas.quota.channels.sizes import counts_in
from nas.quota.training.config import QuotaConfig
from nas.quota.worth.price import PRICES, CostOf, Counts
from nas.search.pruning.prune_methods import METHODS, Case
from nas.search.pruning.pruning import PruneConfig, judges_of
from nas.train.config import TrainConfig
from nas.train.machine.kept_memory import kept_memory
from nas.train.recipe.metrics import ErrorRate, evaluate
from nas.train.run import train_and_test
from nas.train.state.settings import hold_settings
from nas.train.state.transfer import load_exactly

_KIND, _PRICES_KIND, _VERSION = "prune_record", "measured_prices", 1


class Point(msgspec.Struct, frozen=True):
    """An operating point: what the final network may cost, and in which currency."""

    name: str
    price: str
    share: float
    align: int = 8


class PruneRecord(msgspec.Struct, frozen=True):
    """widths: by group; price_share: of the whole network's; cpu_s: of the method; latency_s: simulated, None: does not fit."""

    point: str
    method: str
    seed: int
    widths: tuple[int, ...]
    error: ErrorRate
    price_share: float
    cpu_s: float
    latency_s: float | None
    parameters: int


class Contest(msgspec.Struct, frozen=True):
    """trainer: of the whole network; method_trainer: of every method. missing: whether records that are not there are made."""

    points: tuple[Point, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    quota: QuotaConfig
    trainer: TrainConfig
    method_trainer: TrainConfig
    missing: Literal["run", "skip"] = "run"

    def __post_init__(self) -> None:
        for method in self.methods:
            refuse_other("comparison", "methods", method, METHODS)
        for point in self.points:
            refuse_other("comparison", "points", point.price, PRICES)

    def at(self, names: Sequence[str]) -> "Contest":
        """The same at the points of these names alone; InputError for one that there is not."""
        known = {point.name: point for point in self.points}
        for name in names:
            refuse_other("comparison", "at", name, known)
        return msgspec.structs.replace(self, points=tuple(known[name] for name in names))


def compare(
    contest: Contest, build: Callable[[int], nn.Module], data: Data, cost: CostModel, folder: Path,
    told: Callable[[PruneRecord | Violation | str], None], hardware: Mapping[str, Any] | None = None,
) -> list[PruneRecord]:  # fmt: skip
    """All records of the contest, those of earlier runs too. build: of a seed, the network with new weights. told: what begins, in
    words, and what came of it. hardware: what `cost` simulates, as plain data.

    A method that has no network of a point's price leaves no record. Raises InputError for a folder of other images, trainers or quotas,
    of another point of one of the names, or of other hardware.
    """
    trainers = {"trainer": contest.trainer.identity(), "method_trainer": contest.method_trainer.identity()}
    hold_settings(folder, {"data": data.identity, **trainers, "quota": msgspec.to_builtins(contest.quota)})
    records = []
    for seed in contest.seeds:
        if contest.missing == "skip" and not (folder / str(seed) / "whole.json").exists():
            continue
        told(f"{seed} the whole network")
        whole, whole_s, error = _whole(contest, build(seed), data, folder / str(seed), seed)
        records.append(_record("", "whole", seed, whole, (error, whole_s), (data, cost, 1.0), ()))
        for point in contest.points:
            quota_s, prices = 0.0, _Prices(folder / str(seed) / f"{point.name}-prices.json")
            for method in contest.methods:
                path = folder / str(seed) / f"{point.name}-{method}.json"
                if not path.exists() and contest.missing == "skip":
                    continue
                hold_settings(folder / "points" / point.name, {**msgspec.to_builtins(point), "hardware": hardware})
                if not path.exists():
                    told(f"{seed} {point.name} {method}")
                    case = _case(contest, point, (whole, build(seed + 1000)), data, cost, seed)
                    case = case._replace(whole_s=whole_s, quota_s=quota_s)
                    if point.price == "time":
                        case = prices.of(case)
                    made = _run(case, point.name, method, cost)
                    if isinstance(made, Violation):
                        told(made)
                        continue
                    write_json(path, made, _KIND, _VERSION)
                records.append(read_json(path, PruneRecord, _KIND, _VERSION))
                quota_s = records[-1].cpu_s if method == "quota" else quota_s
                told(records[-1])
    return records


def _run(case: Case, point: str, method: str, cost: CostModel) -> PruneRecord | Violation:
    began_s = time.process_time()
    with kept_memory():  # as trainings have it, for prices that are measured
        network = METHODS[method](case)
    if isinstance(network, Violation):
        return network
    taken_s = time.process_time() - began_s
    counts = counts_in(network, case.network, case.groups)
    share = case.lookup(counts) / case.lookup.whole
    measured = (evaluate(network, case.data.test), taken_s)
    return _record(
        point, method, case.trainer.seed, network, measured, (case.data, cost, share), tuple(counts.values())
    )


def _whole(
    contest: Contest, network: nn.Module, data: Data, folder: Path, seed: int
) -> tuple[nn.Module, float, ErrorRate]:
    """The trained network of a seed, the CPU seconds that it took, its test error."""
    path = folder / "whole.json"
    if not path.exists():
        result = train_and_test(network, data, _seeded(contest.trainer, seed), folder / "whole")
        took_s = result.train.processor_s  # of all sessions, where it was interrupted
        write_json(path, {"cpu_s": took_s, "error": result.test}, "whole", 1)
    load_exactly(network, folder / "whole")
    found = read_json(path, _Whole, "whole", 1)
    return network, found.cpu_s, found.error


class _Whole(msgspec.Struct, frozen=True):
    cpu_s: float
    error: ErrorRate


def _case(
    contest: Contest, point: Point, networks: tuple[nn.Module, nn.Module], data: Data, cost: CostModel, seed: int
) -> Case:
    network, fresh = networks
    groups = find_groups(network, (1, data.channels, data.size_px, data.size_px))
    quota = msgspec.structs.replace(
        contest.quota, price=point.price, share=point.share, align=point.align, minimum=point.align
    )
    trainer = _seeded(contest.method_trainer, seed)
    judges = judges_of(network, groups, data, PruneConfig(quota, trainer, trainer, trainer), cost)
    return Case(network, fresh, groups, data, trainer, quota, judges)


class _Prices:
    """Measured prices are never the same twice: methods share what was measured, and what was asked once is kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[int, ...], float] = {}
        self._ask: CostOf | None = None
        if path.exists():
            prices = read_json(path, tuple[_Price, ...], _PRICES_KIND, _VERSION)
            self._known = {price.counts: price.price for price in prices}

    def of(self, case: Case) -> Case:
        """The same case with these prices."""
        self._ask = self._ask or case.judges.cost_of
        return case._replace(judges=case.judges._replace(cost_of=self._cost_of))

    def _cost_of(self, counts: Counts) -> float:
        asked = tuple(counts.values())
        if asked not in self._known:
            assert self._ask is not None
            self._known[asked] = self._ask(counts)
            write_json(self._path, [_Price(*item) for item in self._known.items()], _PRICES_KIND, _VERSION)
        return self._known[asked]


class _Price(msgspec.Struct, frozen=True):
    counts: tuple[int, ...]
    price: float


def _seeded(trainer: TrainConfig, seed: int) -> TrainConfig:
    return dataclasses.replace(trainer, seed=seed)


def _record(
    point: str, method: str, seed: int, network: nn.Module, measured: tuple[ErrorRate, float],
    priced: tuple[Data, CostModel, float], widths: tuple[int, ...],
) -> PruneRecord:  # fmt: skip
    data, cost, share = priced
    found = cost.cost(network, (1, data.channels, data.size_px, data.size_px))
    return PruneRecord(
        point=point,
        method=method,
        seed=seed,
        widths=widths,
        error=measured[0],
        price_share=share,
        cpu_s=measured[1],
        latency_s=None if isinstance(found, Violation) else found.latency_s,
        parameters=sum(weight.numel() for weight in network.parameters()),
    )


def means(records: Sequence[PruneRecord]) -> dict[tuple[str, str], tuple[float, float, int]]:
    """By point and method: the mean error rate over the seeds, its standard error, and how many seeds there are."""
    found: dict[tuple[str, str], list[ErrorRate]] = {}
    for record in records:
        found.setdefault((record.point, record.method), []).append(record.error)
    result = {}
    for key, errors in found.items():
        rates = [error.rate for error in errors]
        mean = sum(rates) / len(rates)
        among = sum((rate - mean) ** 2 for rate in rates) / max(1, len(rates) - 1)
        images = mean * (1 - mean) / errors[0].images  # the test images are the same for all, so this is the least
        result[key] = (mean, (max(among, images) / len(rates)) ** 0.5, len(rates))
    return result
