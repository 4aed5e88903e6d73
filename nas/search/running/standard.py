"""A search's configuration -> its plan, and in the worker its parts: our data, trainer, compiler and simulator.

The networks alone come from outside, as `build`, so this package knows none.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import DictConfig, OmegaConf
from torch import nn

from nas.compiler.driver import compile_network
from nas.compiler.memo import Memo
from nas.core.config import from_config
from nas.core.errors import ContractError, InputError, Violation
from nas.core.seeding import stream, stream_seed
from nas.cost.model import CostModel
from nas.cost.simulated import SimulatedCost
from nas.data.load import SOURCES, load_data
from nas.data.source import DataConfig
from nas.hw.load import processor_from
from nas.hw.spec import Processor
from nas.search.running.evaluate import FitResult, Parts, ShouldStop, price
from nas.search.running.limit import FoundLimit, found_limit, with_latency
from nas.search.running.plan import PLAN_NAME, Plan, read_plan
from nas.search.running.study import check_plan
from nas.search.trials.objective import Limits
from nas.search.trials.record import Record
from nas.search.trials.space import Space
from nas.train.config import TrainConfig
from nas.train.machine.device import device_of
from nas.train.options import Options
from nas.train.recipe.metrics import evaluate
from nas.train.trainer import train

Build = Callable[[Mapping[str, Any], int], nn.Module]  # (description, seed of the weights) -> a network
_SAMPLE = 24  # of the hardware of a space


def standard_plan(config: DictConfig, factory: str, build: Build) -> Plan:
    """The plan of conf/search.yaml; what does not fit is an `InputError` that names the key.

    With `resume` it is the plan that the search in that folder began with. The image's size and the classes are put
    into the space's network from the data source. A latency that is `auto` is that of the search which is in the folder
    already, or what the processor has in `usual_latency_s`, or else found from random networks.
    """
    if config.resume:
        return msgspec.structs.replace(read_plan(Path(config.resume)), factory=factory)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    data = from_config(plain["data"], DataConfig, "data")
    source = SOURCES[data.source](data)
    image = {"in_channels": source.channels, "classes": source.classes, "image_size_px": source.size_px}
    space = dict(plain["space"])
    if not isinstance(space.get("network"), dict):
        raise InputError("space", "network", "a description of networks", space.get("network"))
    space["network"] = {**image, **space["network"]}
    settings = {name: plain[name] for name in ("data", "trainer", "hardware", "augment", "seed")}
    chosen = {
        "space": space,
        "factory": factory,
        "settings": settings,
        "limits": plain["constraints"],
        "lease_s": float(plain["lease_s"]),
        **{name: plain[name] for name in ("sampler", "trials", "reference", "seed", "storage", "early_stopping")},
    }
    _trainer(settings)
    hardware = _processor(settings, {}).name
    _check_hardware(Space(space), settings)

    def auto() -> FoundLimit:
        if (Path(config.folder) / PLAN_NAME).exists():
            before = read_plan(Path(config.folder))
            return FoundLimit(before.limits.latency_s or before.reference.latency_s, before.limit_found)
        if hardware in plain["usual_latency_s"]:
            return FoundLimit(float(plain["usual_latency_s"][hardware]))
        memo = Memo()
        parts = Parts(
            input_shape=(1, source.channels, source.size_px, source.size_px),
            build=lambda description: build(description, 0),
            cost_model=lambda overrides: SimulatedCost(_processor(settings, overrides), memo=memo),
            fit=_untrained,
        )
        networks = Space(space)
        return found_limit(networks, lambda params: price(networks.assemble(params), parts, Limits()), plain["seed"])

    check_plan(
        from_config(with_latency(chosen, lambda: FoundLimit(1.0)), Plan, "search")
    )  # before anything that takes time
    return from_config(with_latency(chosen, auto), Plan, "search")


def standard_parts(settings: Mapping[str, Any], build: Build) -> Parts:
    """Load the data, which may draw or fetch it first, and tie everything together for a worker."""
    trainer = _trainer(settings)
    data = load_data(from_config(settings["data"], DataConfig, "data"), device_of(trainer.device))
    input_shape = (1, data.channels, data.size_px, data.size_px)
    memo = Memo()  # neighbours in the space have most of their layers in common

    def build_network(description: Mapping[str, Any]) -> nn.Module:
        return build(description, stream_seed(settings["seed"], "weights"))

    def cost_model(overrides: Mapping[str, Any]) -> CostModel:
        return SimulatedCost(_processor(settings, overrides), memo=memo)

    def fit(network: nn.Module, _: Path | None, should_stop: ShouldStop | None) -> FitResult:
        # No folder: a checkpoint of a training of seconds costs more than it saves; a lost trial starts again.
        result = train(network, data.train, data.validation, trainer, options=Options(should_stop=should_stop))
        return FitResult(
            error=result.error.rate,
            low=result.error.low,
            high=result.error.high,
            curve=[(point.step, point.error.rate) for point in result.curve],
            steps=result.steps,
            images_per_s=result.images_per_s,
            stopped=result.stopped,
        )

    def export(network: nn.Module, record: Record, folder: Path) -> dict[str, Any]:
        error = evaluate(network.to(data.test.images.device), data.test)
        compiled = compile_network(network.cpu(), input_shape, _processor(settings, record.candidate.hardware))
        if isinstance(compiled, Violation):  # the search has compiled it before
            raise InputError(folder, "", "a network that compiles", compiled)
        compiled.write(folder / "compiled")
        return {"test_error": error.rate, "test_error_low": error.low, "test_error_high": error.high}

    return Parts(input_shape, build_network, cost_model, fit, export)


def _check_hardware(space: Space, settings: Mapping[str, Any]) -> None:
    """InputError where no hardware of the space can exist, from a sample; of some that cannot, the candidates are rejected."""
    refused: InputError | None = None
    for index in range(_SAMPLE):
        try:
            _processor(settings, space.assemble(space.random(stream(settings["seed"], "hardware", index))).hardware)
        except InputError as error:
            refused = refused or error
        else:
            return
    assert refused is not None
    raise refused


def _untrained(network: nn.Module, folder: Path | None, should_stop: ShouldStop | None) -> FitResult:
    raise ContractError("networks of which only the latency is asked are not trained")


def _trainer(settings: Mapping[str, Any]) -> TrainConfig:
    chosen = {**settings["trainer"], "augment": settings["data"]["augment"] if settings["augment"] else None}
    return from_config(chosen, TrainConfig, "trainer")


def _processor(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> Processor:
    merged = OmegaConf.merge(OmegaConf.create(dict(settings["hardware"])), OmegaConf.create(dict(overrides)))
    assert isinstance(merged, DictConfig)
    return processor_from(merged, "hardware")
