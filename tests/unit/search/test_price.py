"""What a candidate costs before it is trained, against the price of the network that would be."""

from pathlib import Path

import pytest

import models
from nas.core.config import load_yaml
from nas.core.errors import InputError
from nas.core.seeding import stream
from nas.cost.simulated import SimulatedCost
from nas.hw.load import find_processor
from nas.search.running.evaluate import FitResult, Parts, evaluate, price
from nas.search.trials.candidate import Candidate
from nas.search.trials.objective import Limits
from nas.search.trials.record import Record
from nas.search.trials.space import Space

ROOT = Path(__file__).parents[3]
IMAGE = {"in_channels": 3, "classes": 10, "image_size_px": 32}


def no_training(network, folder, should_stop):
    return FitResult(1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def space():
    template = dict(load_yaml(ROOT / "conf" / "space" / "quantized_cnn.yaml"))
    return Space({"network": {**IMAGE, **template["network"]}})


@pytest.fixture(scope="module")
def parts():
    model = SimulatedCost(find_processor("edge_npu"))
    return Parts((1, 3, 32, 32), lambda network: models.build(network, 0), lambda hardware: model, no_training)


@pytest.mark.parametrize("seed", range(6))
def test_a_network_without_weights_has_the_price_of_one_with_weights(space, parts, seed):
    candidate = space.assemble(space.random(stream(seed)))
    real = SimulatedCost(find_processor("edge_npu")).cost(models.build(candidate.network, 0), parts.input_shape)
    assert price(candidate, parts, Limits()) == real


def test_what_exceeds_a_limit_or_cannot_exist_has_no_price(space, parts):
    candidate = space.assemble(space.random(stream(0)))
    cost = price(candidate, parts, Limits())
    assert price(candidate, parts, Limits(latency_s=cost.latency_s)) == cost
    assert price(candidate, parts, Limits(latency_s=cost.latency_s * 0.999)) is None
    assert price(candidate, parts, Limits(parameters=cost.parameters - 1)) is None
    assert price(Candidate({**candidate.network, "stem_width": 0}, {}), parts, Limits()) is None


def test_hardware_that_cannot_exist_has_no_price_and_is_rejected_by_name(space, parts, tmp_path):
    """It is no bug of the search, costs no training, and ends no sampler that asks for its price."""

    def cost_model(hardware):
        raise InputError("hardware", "sram.size_bytes", "an amount", hardware["sram"]["size_bytes"])

    chosen = space.assemble(space.random(stream(0)))
    candidate = Candidate(chosen.network, {"sram": {"size_bytes": -5}})
    impossible = Parts(parts.input_shape, parts.build, cost_model, no_training)
    assert price(candidate, impossible, Limits()) is None
    trial = Record(0, candidate.key, candidate, {}, "failed")
    record = evaluate(trial, impossible, Limits(), tmp_path)
    assert (record.state, record.trained) == ("rejected", False)
    assert "sram.size_bytes: expected an amount, got -5" in record.violations[0].help
