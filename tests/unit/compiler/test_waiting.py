"""Maps that have room on chip pass in stripes where an engine would wait for the other, unless the dram sets the pace."""

import msgspec
import pytest
import torch
from torch import nn

import models
from nas.check.parallel import check_par_program
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.opt.plan import settle
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel

EDGE_NPU, MICRO_NPU = find_processor("edge_npu"), find_processor("micro_npu")


def separable(blocks: int) -> nn.Module:
    """The array makes what the lanes read, and the other way round."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 1), nn.ReLU()]
        for _ in range(blocks):
            layers += [nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU()]
        return nn.Sequential(*layers).eval()


def compiled(blocks: int, processor: Processor) -> Compiled:
    found = compile_network(separable(blocks), (1, 3, 16, 16), processor, precision=Precision("int8"))
    assert isinstance(found, Compiled)
    return found


def let_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "waiting_maps", lambda *_: [])


def cycles(blocks: int, processor: Processor) -> int:
    program = compiled(blocks, processor).parallel
    assert not check_par_program(program, processor)
    return simulate_parallel(program, processor).cycles


def test_engines_work_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    side_by_side = cycles(1, MICRO_NPU)
    let_nobody_wait(monkeypatch)
    assert side_by_side < 0.95 * cycles(1, MICRO_NPU)


def test_nothing_changes_where_the_dram_sets_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    dram = msgspec.structs.replace(MICRO_NPU.dram, bandwidth_bytes_per_s=0.04e9)
    processor = msgspec.structs.replace(MICRO_NPU, dram=dram)
    program = compiled(2, processor).optimised
    let_nobody_wait(monkeypatch)
    assert compiled(2, processor).optimised == program


def test_a_chain_that_is_deeper_than_its_maps_have_rows() -> None:
    """A stripe of one row at its end has nothing left to make at its beginning."""
    dram = msgspec.structs.replace(EDGE_NPU.dram, bandwidth_bytes_per_s=100e9)
    processor = msgspec.structs.replace(EDGE_NPU, dram=dram)
    arch = models.fitted(models.arch_from({"model": "mobilenet_v1", "width": 0.5}), 3, 10, 32)
    network = models.build(arch, seed=0).eval().to("meta")
    found = compile_network(network, (1, 3, 32, 32), processor, precision=Precision("int8"))
    assert isinstance(found, Compiled)
    assert not check_par_program(found.parallel, processor)
