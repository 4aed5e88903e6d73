"""A network -> a smaller one under the quota: trained whole, trained under the quota, cut for real, trained on.

whole/    the base, where no trained one is given           quota.json   the history of the widths
quota/    the checkpoint of the training under the quota    slim/        the weights, the result and the description
result.json: `PruneResult`. A run that was killed goes on in the same folder, with the same settings.json, and ends the same.
"""

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from nas.core.artifact import read_json, write_json
from nas.core.errors import Violation
from nas.cost.model import Cost, CostModel
from nas.data.load import Data
from nas.quota.channels.find import find_groups
from nas.quota.channels.groups import Groups, sizes_to_cut
from nas.quota.channels.slim import SLIM_KIND, SLIM_VERSION, SlimNetwork, channels_of, slim
from nas.quota.training.adjuster import Judges
from nas.quota.training.config import QuotaConfig
from nas.quota.training.holding import Holding, refuse_start
from nas.quota.training.quota_training import Look, QuotaTraining
from nas.quota.worth.price import PRICES, Subject
from nas.search.pruning.try_out import TryOut
from nas.train.config import TrainConfig
from nas.train.machine.slow_kernels import without_slow_kernels
from nas.train.observer import Observer, Prefixed
from nas.train.options import Options
from nas.train.recipe.distillation import Teacher
from nas.train.recipe.metrics import ErrorRate, evaluate
from nas.train.recipe.precision import autocast_dtype
from nas.train.run import RunResult, read_result, train_and_test
from nas.train.state.settings import hold_settings
from nas.train.state.transfer import digest_of, load_exactly, read_weights
from nas.train.step import TrainStep
from nas.train.trainer import train

RESULT_KIND, RESULT_VERSION = "prune_result", 1
_HISTORY_KIND, _HISTORY_VERSION = "quota_history", 1
_PROBE_IMAGES, _PROBE_BATCH = 512, 256  # few large batches: every new shape costs its kernels once a batch
_TIMED_STEPS = 7


class PruneConfig(msgspec.Struct, frozen=True):
    """trainer: of the whole network; quota_trainer: under the quota; fine_trainer: of the slim one.

    start: the folder of a trained whole network, in place of training one. distil: whether the slim one learns from it.
    """

    quota: QuotaConfig
    trainer: TrainConfig
    quota_trainer: TrainConfig
    fine_trainer: TrainConfig
    start: str | None = None
    distil: bool = False


class Row(msgspec.Struct, frozen=True):
    """A line of the publication's table. share: of the channels that can be cut; latency_s: simulated, None: does not fit."""

    name: str
    widths: tuple[int, ...]
    steps_per_s: float
    error: ErrorRate
    share: float
    latency_s: float | None
    parameters: int


class PruneResult(msgspec.Struct, frozen=True):
    """whole, slim: before and after; channels: that are left, by group; kept: by layer, why it had to stay whole."""

    whole: Row
    slim: Row
    channels: dict[str, int]
    kept: dict[str, str]
    history: tuple[Look, ...]


class UnderQuota:
    """Makes the stepper of a training under the quota, and keeps it: `training`, once that has begun."""

    def __init__(self, groups: Groups, config: QuotaConfig, judges: Judges, seed: int) -> None:
        self._groups, self._config, self._judges, self._seed = groups, config, judges, seed
        self.training: QuotaTraining

    def __call__(self, whole: nn.Module, optimizer: Optimizer) -> QuotaTraining:
        self.training = QuotaTraining(whole, self._groups, optimizer, self._config, self._judges, self._seed)
        return self.training


def prune(
    network: nn.Module, data: Data, config: PruneConfig, cost: CostModel, folder: Path, observer: Observer,
    hardware: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, PruneResult]:  # fmt: skip
    """Prune `network`, which is changed, for images of `data`; the slim network and what became of it.

    hardware: what `cost` simulates, as plain data: a quota of its cycles goes on with no other.
    """
    shape = (1, data.channels, data.size_px, data.size_px)
    groups = find_groups(network, shape)
    judges = _checked(judges_of(network, groups, data, config, cost, observer), groups, config.quota)
    if config.start is not None:
        load_exactly(network, Path(config.start))
    hold_settings(folder, _settings(data, config, hardware))
    whole = _whole(network, data, config, folder, observer)
    teacher = Teacher(copy.deepcopy(network)) if config.distil else None
    base = copy.deepcopy(network)
    training = _under_quota(network, groups, data, config, judges, folder, observer)
    keep = training.keep()
    small = slim(network, groups, keep, shape)
    describe_slim(folder / "slim" / "slim.json", network, channels_of(keep))
    if not (folder / "slim" / "result.json").exists():
        options = Options(observer=Prefixed(observer, "slim"), teacher=teacher)
        train_and_test(small, data, config.fine_trainer, folder / "slim", options)
    fine = read_result(folder / "slim")
    load_exactly(small, folder / "slim")
    speeds = steps_per_s([base, small], config.fine_trainer, shape[1:])
    sizes = sizes_to_cut(groups)
    counts = {name: len(channels) for name, channels in keep.items()}
    channels = sum(sizes.values())
    before = _row("whole", base, (sizes, channels), (speeds[0], whole), cost.cost(base, shape))
    after = _row("slim", small, (counts, channels), (speeds[1], fine.test), cost.cost(small, shape))
    result = PruneResult(before, after, counts, groups.kept, tuple(training.history))
    write_json(folder / "result.json", result, RESULT_KIND, RESULT_VERSION)
    return small, result


def read_prune_result(folder: Path) -> PruneResult:
    """What a finished run left in its folder."""
    return read_json(folder / "result.json", PruneResult, RESULT_KIND, RESULT_VERSION)


def describe_slim(path: Path, network: nn.Module, channels: dict[str, int]) -> None:
    """Write what a fresh network is built from: the description of the whole one and the channels that are left."""
    arch = getattr(network, "arch", None)
    plain: dict[str, Any] = {} if arch is None else msgspec.to_builtins(arch)
    write_json(path, SlimNetwork(plain, channels), SLIM_KIND, SLIM_VERSION)


def steps_per_s(networks: list[nn.Module], config: TrainConfig, image: tuple[int, ...]) -> list[float]:
    """Training steps of each per second, measured in turn on this device."""
    steps = [timed_step(copy.deepcopy(network), config, image) for network in networks]
    taken_s = [[step() for step in steps] for _ in range(_TIMED_STEPS)]
    return [1 / statistics.median(own[2:]) for own in zip(*taken_s, strict=True)]


def timed_step(network: nn.Module, config: TrainConfig, image: tuple[int, ...]) -> Callable[[], float]:
    """Trains `network` a step on blank images at each call, and tells the seconds; on a CPU those of the processor."""
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)
    images = torch.rand(config.batch_size, *image, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(config.batch_size, dtype=torch.int64, device=device)
    train_step = TrainStep(network.train(), config, device, Options())
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def step() -> float:
        began_s = clock()
        with without_slow_kernels(network):
            float(train_step(0, _TIMED_STEPS, images, labels))  # waits for the device
        return clock() - began_s

    return step


def judges_of(
    network: nn.Module, groups: Groups, data: Data, config: PruneConfig, cost: CostModel, observer: Observer | None = None
) -> Judges:  # fmt: skip
    """What networks cost by the price that `config` names, their loss on images for validation, and what becomes of that after a
    short training, which `observer` watches.
    """
    shape = (1, data.channels, data.size_px, data.size_px)

    def cycles_of(small: nn.Module) -> float:
        found = cost.cost(small, shape)
        return math.inf if isinstance(found, Violation) else float(found.cycles)

    def step_of(small: nn.Module) -> Callable[[], float]:
        return timed_step(small, config.quota_trainer, shape[1:])

    images = data.put_aside
    batches = max(1, min(len(images), _PROBE_IMAGES) // _PROBE_BATCH)

    def loss_of(small: nn.Module, number: int) -> torch.Tensor:
        part = images.take(number * _PROBE_BATCH, (number + 1) * _PROBE_BATCH)
        device = part.labels.device
        autocast = autocast_dtype(config.quota_trainer.precision, device)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast != torch.float32):
            pixels = part.images.to(torch.float32, memory_format=torch.channels_last).div_(255.0)
            logits = small(pixels)
        return F.cross_entropy(logits.float(), part.labels)

    price = PRICES[config.quota.price](Subject(network, groups, cycles_of, step_of, config.quota.align))
    return Judges(price, loss_of, batches, TryOut(network, groups, data, config.quota_trainer, observer))


def _settings(data: Data, config: PruneConfig, hardware: Mapping[str, Any] | None) -> dict[str, Any]:
    """What decides what becomes of the network."""
    start = None if config.start is None else f"weights {digest_of(read_weights(Path(config.start)))}"
    settings = {"start": start, "data": data.identity, "quota": msgspec.to_builtins(config.quota)}
    if config.quota.price == "cycles":
        settings["hardware"] = hardware
    if start is None:
        settings["whole_trainer"] = config.trainer.identity()
    trainers = {"quota_trainer": config.quota_trainer.identity(), "fine_trainer": config.fine_trainer.identity()}
    return {**settings, **trainers, "distil": config.distil}


def _checked(judges: Judges, groups: Groups, config: QuotaConfig) -> Judges:
    """The same judges, who know the prices that were asked for here; a quota that cannot be met is refused before a training."""
    sizes = sizes_to_cut(groups)
    refuse_start(config, sizes, {})
    if config.price == "time":  # measured, beside the training under the quota
        return judges
    return judges._replace(cost_of=Holding(sizes, config, judges.cost_of).lookup)


def _whole(network: nn.Module, data: Data, config: PruneConfig, folder: Path, observer: Observer) -> ErrorRate:
    """Train the whole network, where it is not a trained one; its test error."""
    if config.start is not None:
        network.to(data.test.images.device)
        return evaluate(network, data.test)
    place = folder / "whole"
    done: RunResult
    if (place / "result.json").exists():
        done = read_result(place)
        load_exactly(network, place)
        network.to(data.test.images.device)
    else:
        done = train_and_test(network, data, config.trainer, place, Options(observer=Prefixed(observer, "whole")))
    return done.test


def _under_quota(
    network: nn.Module, groups: Groups, data: Data, config: PruneConfig, judges: Judges, folder: Path, observer: Observer
) -> QuotaTraining:  # fmt: skip
    """Train `network` under the quota, or go on; the training knows the channels that are left."""
    stepper = UnderQuota(groups, config.quota, judges, config.quota_trainer.seed)
    train(
        network, data.train, data.validation, config.quota_trainer, folder / "quota",
        Options(observer=Prefixed(observer, "quota"), stepper=stepper),
    )  # fmt: skip
    write_json(folder / "quota.json", stepper.training.history, _HISTORY_KIND, _HISTORY_VERSION)
    return stepper.training


def _row(
    name: str, network: nn.Module, counted: tuple[Mapping[str, int], int], measured: tuple[float, ErrorRate],
    priced: Cost | Violation,
) -> Row:  # fmt: skip
    widths, channels = counted
    return Row(
        name=name,
        widths=tuple(widths.values()),
        steps_per_s=measured[0],
        error=measured[1],
        share=sum(widths.values()) / channels,
        latency_s=None if isinstance(priced, Violation) else priced.latency_s,
        parameters=sum(weight.numel() for weight in network.parameters()),
    )
