"""Networks whose maps do not fit the chip, or not even the dram beside each other."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.memo import Memo
from nas.compiler.opt import pipeline
from nas.compiler.opt.layout.alive import touched_buffers
from nas.compiler.opt.memory.dram import place_in_dram
from nas.compiler.opt.plan.settle import Layouts, settle
from nas.compiler.opt.plan.stripes import Groups
from nas.compiler.passes import run_passes
from nas.core.errors import Violation
from nas.cost.simulated import SimulatedCost
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.values import run_values

EDGE_NPU = find_processor("edge_npu")


def shrunk(sram_bytes: int, dram_bytes: int) -> Processor:
    return msgspec.structs.replace(
        EDGE_NPU,
        sram=msgspec.structs.replace(EDGE_NPU.sram, size_bytes=sram_bytes, banks=1),
        dram=msgspec.structs.replace(EDGE_NPU.dram, size_bytes=dram_bytes),
    )


def same_values(compiled: object) -> Compiled:
    assert isinstance(compiled, Compiled), str(compiled)
    made = run_values(compiled.optimised, compiled.constants, {"input": compiled.truth["input"]})
    for name, values in made.items():
        np.testing.assert_allclose(values, compiled.truth[name], atol=1e-4)
    return compiled


def test_maps_share_bytes_of_the_dram_only_where_there_are_too_few() -> None:
    network = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(6))).eval()
    plenty, short = shrunk(16 << 10, 1 << 20), shrunk(16 << 10, 170 << 10)
    alone, shared = (
        same_values(compile_network(network, (1, 8, 32, 32), each, switched_off=frozenset({"stripes"})))
        for each in (plenty, short)
    )
    assert alone.optimised.used_bytes["dram"] > short.dram.size_bytes >= shared.optimised.used_bytes["dram"]


class _Twice(nn.Module):
    """Both concats want the same map at a place of their own, so that one has to move it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(24, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        second = self.second(first)
        return self.last(torch.cat([torch.cat([second, first], 1), first], 1))


def test_a_map_larger_than_the_chip_is_moved_in_parts() -> None:
    compiled = same_values(compile_network(_Twice().eval(), (1, 2, 32, 32), shrunk(16 << 10, 1 << 20)))
    assert any(command.layer.endswith("cat") for command in compiled.optimised.commands)


def test_weights_that_are_more_than_the_dram_are_refused_before_anything_is_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def planned(*_: object) -> None:
        raise AssertionError("planned")

    monkeypatch.setattr(pipeline, "settle", planned)
    network = nn.Linear(1000, 600, bias=False)
    answer = SimulatedCost(shrunk(64 << 10, 1 << 20)).cost(network, (2, 1000))
    assert isinstance(answer, Violation)
    assert (answer.what, answer.need, answer.have) == ("dram_bytes", 4 * (600_000 + 2000 + 1200), 1 << 20)


def test_what_just_fits_is_not_refused() -> None:
    network = nn.Linear(1000, 200, bias=False)
    need_bytes = 4 * (200_000 + 1000 + 200)
    compiled = same_values(compile_network(network, (1, 1000), shrunk(64 << 10, need_bytes + 256)))
    assert need_bytes <= compiled.optimised.used_bytes["dram"] <= need_bytes + 256


class _Kept(nn.Module):
    """A chain between two calls of the host, beside a map that is kept for the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.first(x)
        return nn.functional.mish(self.third(self.second(nn.functional.mish(kept)))) + kept


def test_what_a_chain_in_stripes_reads_and_makes_shares_no_bytes() -> None:
    """The last operator writes before the first one has read its last stripe."""
    processor, switched_off = shrunk(24 << 10, 1 << 20), frozenset[str]()
    network = run_passes(pipeline.PASSES, network_of(_Kept().eval(), ((1, 8, 32, 32),)), processor)
    layout, residency, by_first, _ = settle(Layouts(network, processor, switched_off), 24 << 10, Memo())[0]
    groups = Groups(by_first)
    assert groups.by_first
    elsewhere, touches = residency.on_chip | groups.passing(network), touched_buffers(network, layout.storage)
    places, _, _ = place_in_dram(network, layout.storage, elsewhere, groups.spans(residency))
    for group in groups.by_first.values():
        touched = {name for index in range(group.first, group.last + 1) for name in touches[index]} - elsewhere
        stretches = sorted((places[name], layout.storage.buffers[name].size_bytes) for name in touched)
        assert len(stretches) > 1
        assert all(start + size <= following for (start, size), (following, _) in pairwise(stretches))
