"""How long the compiler takes from an nn.Module to its checked and simulated parallel program: rows (what, value, unit).

Times are seconds of one core. "Cold" is the first network that a process sees: each is measured in a fork of its own, so
that no cache, whichever it is, knows anything of it. Before, a tiny network brings in what is made on first use.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import torchvision
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual

import models
from nas.check.parallel import check_par_program
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.precision import Bits, Precision, network_to_price
from nas.core.config import load_yaml
from nas.core.seeding import stream
from nas.cost.simulated import SimulatedCost
from nas.hw.load import find_processor
from nas.search.trials.space import Space
from nas.sim.parallel import simulate_parallel

NAME = "compiler"
_SHAPE = (1, 3, 224, 224)
_NETWORKS = ("mobilenet_v2", "resnet18", "resnet50")
_BITS: tuple[Bits, ...] = ("float", "int8")
_LAYERS = (1, 2, 5, 10, 20, 50, 100, 200)
_CANDIDATES = 40
_SPACE = Path(__file__).resolve().parents[2] / "conf" / "space" / "quantized_cnn.yaml"
_REPEATS, _SLOW_S = 3, 3.0
_PROCESSOR = find_processor("edge_npu")
Row = tuple[str, float, str]


def run() -> list[Row]:
    """Whole networks, their neighbours, their stages, a search's candidates, and chains of more and more layers."""
    torch.set_num_threads(1)
    _cost_s(SimulatedCost(_PROCESSOR), _chain(2), (1, 16, 8, 8))
    rows: list[Row] = []
    for bits in _BITS:
        kind = f"224, {bits}"
        rows += [(f"{name} {kind}, cold", _median(_cold_s, name, bits), "s") for name in _NETWORKS]
        rows.append((f"mobilenet_v2 {kind}, one block changed", _median(_neighbour_s, "mobilenet_v2", bits), "s"))
        rows.append((f"mobilenet_v2 {kind}, once more", _median(_again_s, "mobilenet_v2", bits), "s"))
        for name in _NETWORKS:
            stages = _in_a_fork(_stages_s, name, bits)
            rows += [(f"{name} {kind}: {stage}", value, "s") for stage, value in stages.items()]
    rows.append(("a candidate of quantized_cnn, 32x32, median", _in_a_fork(_candidates_s), "s"))
    by_layers = {count: _median(_chain_s, count) for count in _LAYERS}
    rows += [(f"{count} layers", seconds, "s") for count, seconds in by_layers.items()]
    first, last = _LAYERS[3], _LAYERS[-1]
    growth = by_layers[last] / by_layers[first] / (last / first)
    rows.append((f"{last} layers over {first} times {last // first} (linear: 1)", growth, "x"))
    return rows


def _in_a_fork(measure: Callable[..., object], *arguments: object) -> object:
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, *arguments).result()


def _median(measure: Callable[..., float], *arguments: object) -> float:
    """Of a few forks; of one where that is slow enough to be exact."""
    times = [_in_a_fork(measure, *arguments)]
    while len(times) < _REPEATS and times[0] < _SLOW_S:
        times.append(_in_a_fork(measure, *arguments))
    return statistics.median(times)


def _cost_s(model: SimulatedCost, network: nn.Module, shape: tuple[int, ...]) -> float:
    began_s = time.process_time()
    model.cost(network, shape)
    return time.process_time() - began_s


def _model(bits: Bits) -> SimulatedCost:
    return SimulatedCost(_PROCESSOR, precision=Precision(bits))


def _cold_s(name: str, bits: Bits) -> float:
    return _cost_s(_model(bits), _build(name), _SHAPE)


def _again_s(name: str, bits: Bits) -> float:
    network, model = _build(name), _model(bits)
    _cost_s(model, network, _SHAPE)
    return _cost_s(model, network, _SHAPE)


def _neighbour_s(name: str, bits: Bits) -> float:
    network, neighbour, model = _build(name), _build(name), _model(bits)
    neighbour.features[9] = InvertedResidual(64, 64, 1, expand_ratio=4).eval()
    _cost_s(model, network, _SHAPE)
    return _cost_s(model, neighbour, _SHAPE)


def _chain_s(layers: int) -> float:
    return _cost_s(_model("float"), _chain(layers), (1, 16, 16, 16))


def _candidates_s() -> float:
    """Random candidates of a search, priced one after the other by one model, as a proposal prices its pool."""
    template = load_yaml(_SPACE)["network"]
    space = Space({"network": {"in_channels": 3, "classes": 10, "image_size_px": 32, **template}})
    model, times = _model("float"), []
    for seed in range(_CANDIDATES):
        with torch.device("meta"):
            network = models.build(space.assemble(space.random(stream(seed))).network, 0)
        times.append(_cost_s(model, network, (1, 3, 32, 32)))
    return statistics.median(times)


def _stages_s(name: str, bits: Bits) -> dict[str, float]:
    network, times = _build(name), {}

    def timed(stage: str, function: Callable[..., object], *arguments: object) -> object:
        began_s = time.process_time()
        result = function(*arguments)
        times[stage] = time.process_time() - began_s
        return result

    lowered = timed("trace and lower", network_to_price, network, _SHAPE, _PROCESSOR, bits)
    program, _ = timed("opt", optimise, lowered, _PROCESSOR)
    parallel = timed("parallel", parallelise, program)
    timed("check", check_par_program, parallel, _PROCESSOR, program)
    timed("simulate", simulate_parallel, parallel, _PROCESSOR)
    return times


def _build(name: str) -> nn.Module:
    return torchvision.models.get_model(name, weights=None).eval()


def _chain(layers: int) -> nn.Module:
    """`layers` convolutions, each with a batch norm and a relu."""
    return nn.Sequential(
        *(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(layers))
    ).eval()
