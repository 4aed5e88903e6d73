"""A network that the front end makes is legal; one with a part changed is told where, or compiles to a legal program."""

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import models
from nas.check.sequential import check_program
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.legal import network_breach
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import network_of_program, optimise
from nas.compiler.precision import network_to_price
from nas.core.artifact import decode_json
from nas.core.errors import DoesNotFit, InputError
from nas.hw.load import find_processor
from nas.ir.command import Conv
from nas.ir.program import SCHEMA_VERSION, Program
from nas.ir.schema import write_program
from tests.fuzz.hostile import Tree
from tests.networks import RandomNetwork, random_arch

PROCESSOR = find_processor("micro_npu")
FINE = ("", "")
SHAPE = (2, 3, 16, 16)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(["float", "int8", "bfloat16"]))
def test_what_the_front_end_makes_is_legal(seed: int, bits: Any) -> None:
    generator = np.random.default_rng(seed)
    module = (
        RandomNetwork(generator) if seed % 2 else models.build(random_arch(generator, quantised=seed % 4 > 0), seed)
    )
    assert network_breach(network_to_price(module.eval(), SHAPE, PROCESSOR, bits)) == FINE


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(models.build(random_arch(np.random.default_rng(3), quantised=True), 0).eval(), (SHAPE,))


def with_tensor(network: Network, name: str, **fields: Any) -> Network:
    return replace(network, tensors={**network.tensors, name: msgspec.structs.replace(network.tensors[name], **fields)})


def with_operator(network: Network, index: int, **fields: Any) -> Network:
    operators = list(network.operators)
    operators[index] = msgspec.structs.replace(operators[index], **fields)
    return replace(network, operators=tuple(operators))


def test_the_place_and_the_reason_are_told(network: Network) -> None:
    index, conv = next((i, each) for i, each in enumerate(network.operators) if isinstance(each.function, Conv))
    made, weights = conv.outputs[0], conv.inputs[1]
    where = f"operators[{index}] ({conv.layer})"
    sizes, function = network.tensors[made].shape, msgspec.structs.replace
    broken = {
        "expected sizes of 1 or more": (with_tensor(network, made, shape=(2, 0, 4, 4)), f"tensors {made}"),
        "images and": (with_tensor(network, made, shape=(1 << 40, 1)), f"tensors {made}"),
        "[shapes]": (with_tensor(network, made, shape=(sizes[0], sizes[1] + 1, *sizes[2:])), where),
        "as many images": (with_tensor(network, made, shape=(sizes[0] + 1, *sizes[1:])), where),
        "which nothing has made": (with_operator(network, index, inputs=(network.outputs[0], *conv.inputs[1:])), where),
        "which is there already": (with_operator(network, index, outputs=(network.inputs[0],)), where),
        "one output and an input": (with_operator(network, index, inputs=()), where),
        "[groups]": (with_operator(network, index, function=function(conv.function, groups=0)), where),
        "the formats of its tensors": (
            with_tensor(network, made, format=function(network.tensors[made].format, scale=77.0)),
            where,
        ),
        "multiplier": (
            with_tensor(network, weights, format=function(network.tensors[weights].format, kind="code", multiplier=0)),
            f"tensors {weights}",
        ),
        "no tensor has the name": (with_operator(network, index, inputs=("nobody",)), f"operators ({conv.layer})"),
        "of that role": (replace(network, outputs=(network.inputs[0],)), "outputs"),
        "nothing makes": (replace(network, operators=network.operators[:-1]), "outputs"),
    }
    assert network_breach(network) == FINE
    for reason, (case, expected) in broken.items():
        place, wrong = network_breach(case)
        assert (place, reason in wrong) == (expected, True), (reason, place, wrong)


@pytest.mark.parametrize("names", [("dram", "b"), ("sram", "dram"), ("buffer 1", "buffer 2"), ("input", "output")])
def test_a_module_may_have_any_name(names: tuple[str, str]) -> None:
    first, second = names
    module = nn.Sequential(OrderedDict({first: nn.Conv2d(4, 4, 3, padding=1), second: nn.Conv2d(4, 4, 3, padding=1)}))
    made = compile_network(module.eval(), (1, 4, 16, 16), PROCESSOR)
    assert isinstance(made, Compiled)
    assert {operator.layer for operator in made.optimised.operators} == set(names)
    network = network_of(module, ((1, 4, 16, 16),))
    assert network_breach(network) == FINE
    last = network.outputs[0]
    renamed = {last: "dram"}
    assert "no memory" in network_breach(with_names(network, renamed))[1]


def with_names(network: Network, names: dict[str, str]) -> Network:
    tensors = {names.get(name, name): tensor for name, tensor in network.tensors.items()}
    return replace(network, tensors=tensors)


def fuzz(folder: Any, inputs: int, seed: int) -> dict[str, int]:
    """What becomes of a small network's file whose operators and tensors are changed: never anything but the three."""
    arch = {"block": "conv", "depth": 1, "width": 4, "weight_bits": 2, "activation_bits": 4}
    described = {"model": "searchable", "image_size_px": 8, "stem_width": 4, "stages": [arch]}
    made = compile_network(models.build(models.arch_from(described), 0), (1, 3, 8, 8), PROCESSOR)
    assert isinstance(made, Compiled)
    write_program(folder / "cmds.json", made.naive)
    tree = Tree((folder / "cmds.json").read_bytes(), ("operators", "tensors", "inputs", "outputs", "constants"))
    generator = np.random.default_rng(seed)
    outcomes = {"error": 0, "does not fit": 0, "compiles": 0}
    for _ in range(inputs):
        try:
            program = decode_json(tree.mutated(generator), Program, "program", SCHEMA_VERSION, "fuzz.json")
            legal = network_of_program(program, made.naive_constants, "fuzz.json")
        except InputError:
            outcomes["error"] += 1
            continue
        try:
            optimised, _ = optimise(legal, PROCESSOR)
        except DoesNotFit:
            outcomes["does not fit"] += 1
            continue
        assert check_program(optimised, PROCESSOR) == ()
        outcomes["compiles"] += 1
    return outcomes


def test_a_thousand_changed_networks(tmp_path: Any) -> None:
    outcomes = fuzz(tmp_path, 1000, 0)
    assert min(outcomes["error"], outcomes["compiles"]) > 20


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fifty_thousand_changed_networks(tmp_path: Any) -> None:
    fuzz(tmp_path, 50_000, 1)
