"""Images of a batch one after the other on one core: where the maps of all together have no room, and nowhere else."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from nas.compiler import driver
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.parallel.spread import ONE_CORE, Spread
from nas.compiler.parallel.spread import spread as spread_over_cores
from nas.compiler.precision import Precision
from nas.core.errors import ContractError
from nas.cost import simulated
from nas.cost.simulated import SimulatedCost
from nas.ir.command import Command, Conv
from nas.sim.values import run_values, run_values_parallel
from tests.processors import with_sram

IN_TURN = "3 images in turn"


class Fire(nn.Module):
    """Two convolutions side by side whose joined maps of one image fit the chip, and those of three do not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.squeeze = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(32, 8, 1)
        self.left, self.right = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        return self.squeeze(torch.cat([self.left(x).relu(), self.right(x).relu()], 1)).mean((2, 3))


class Deep(nn.Module):
    """Small maps and many weights, which are loaded once for all images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def compiled_for(module: nn.Module, shape: tuple[int, ...], kib: int) -> Compiled:
    processor = with_sram(kib)
    compiled = compile_network(module, shape, processor, precision=Precision("int8"))
    assert isinstance(compiled, Compiled)
    return compiled


def test_images_come_in_turn_where_their_maps_have_no_room_together() -> None:
    compiled = compiled_for(Fire(), (3, 3, 24, 24), 48)
    spread = compiled.spread
    assert spread.partition == IN_TURN
    assert spread.cycles[IN_TURN] < 0.9 * spread.cycles[ONE_CORE]
    inputs, (binding,) = {"input": compiled.truth["input"]}, compiled.naive.outputs
    expected = run_values(compiled.naive, compiled.naive_constants, inputs)[binding.name]
    for seed in range(3):
        order = np.random.default_rng(seed)
        found = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, order)[binding.name]
        np.testing.assert_array_equal(found, expected)


def test_a_batch_stays_together_where_weights_are_what_is_moved() -> None:
    spread = compiled_for(Deep(), (3, 64, 8, 8), 64).spread
    assert spread.partition == ONE_CORE
    assert not spread.is_partitioned


def test_one_image_leaves_no_choice() -> None:
    spread = compiled_for(Fire(), (1, 3, 24, 24), 48).spread
    assert (spread.partition, spread.cycles) == (ONE_CORE, {})


def halved(commands: tuple[Command, ...]) -> dict[Command, Command]:
    """The first command whose result is codes, with codes that mean half as much."""
    first = next(each for each in commands if isinstance(each.attributes, Conv) and each.attributes.tail.output.is_code)
    assert isinstance(first.attributes, Conv)
    tail = first.attributes.tail
    half = replace(tail, output=replace(tail.output, scale=tail.output.scale / 2))
    return {first: replace(first, attributes=replace(first.attributes, tail=half))}


def misread(asked: Callable[..., Spread], *arguments: Any, **named: Any) -> Spread:
    """What `spread` gives, with one command wrong: in the parallel program and in the sequence alike."""
    found = asked(*arguments, **named)
    assert found.is_partitioned
    wrong = halved(found.sequence.commands)
    queues = {
        name: tuple(replace(step, command=wrong.get(step.command, step.command)) for step in steps)
        for name, steps in found.parallel.queues.items()
    }
    sequence = replace(found.sequence, commands=tuple(wrong.get(each, each) for each in found.sequence.commands))
    return dataclasses.replace(found, parallel=replace(found.parallel, queues=queues), sequence=sequence)


def test_what_comes_in_turn_is_what_the_operators_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else has asked: the sequence of a partition is not the program of one core, which has been checked."""
    wrong = functools.partial(misread, spread_over_cores)
    monkeypatch.setattr(driver, "spread", wrong)
    with pytest.raises(ContractError, match="operator"):
        compiled_for(Fire(), (3, 3, 24, 24), 48)
    monkeypatch.setattr(simulated, "spread", wrong)
    with pytest.raises(ContractError, match="operator"):
        SimulatedCost(with_sram(48), precision=Precision("int8")).cost(Fire(), (3, 3, 24, 24))
