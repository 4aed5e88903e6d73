"""Several cores in reports: engines are named core by core, layers add up over cores, and the speed-up is told."""

import io

import msgspec
import numpy as np
import pytest
from rich.console import Console
from torch import nn

import models
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.precision import Precision
from nas.cost.profile import Profile, profile
from nas.hw.load import find_processor
from nas.report.programs.profile_table import cores_text, print_profile
from nas.report.programs.trace_events import trace_events
from nas.sim.layers import layer_rows
from nas.sim.trace import Trace
from tests.networks import random_arch

QUAD_NPU = find_processor("quad_npu")


@pytest.fixture(scope="module")
def seen() -> tuple[Profile, Trace]:
    module = models.build(random_arch(np.random.default_rng(6), quantised=True), 6).eval()
    compiled = compile_network(module, (4, 3, 16, 16), QUAD_NPU)
    assert isinstance(compiled, Compiled)
    return profile(compiled, 0)


def test_the_timeline_names_the_engines_core_by_core(seen: tuple[Profile, Trace]) -> None:
    _, trace = seen
    events = trace_events(trace)["traceEvents"]
    threads = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    order = ["dma_in", "matrix", "vector", "dma_out"]
    wanted = [f"{engine}{core or ''}" for core in range(4) for engine in order]
    assert threads == [name for name in wanted if name in threads]
    assert {"vector", "vector1", "vector2", "vector3"} <= set(threads)


def test_a_layer_adds_up_over_the_cores(seen: tuple[Profile, Trace]) -> None:
    _, trace = seen
    rows = layer_rows(trace, QUAD_NPU)
    assert sum(row.cycles for row in rows) == sum(span.busy_cycles for span in trace.spans)
    assert set().union(*(row.busy_cycles for row in rows)) <= {"dma_in", "matrix", "vector", "dma_out"}
    assert all(0 <= row.utilisation <= 1 for row in rows)


def test_conflicts_are_those_of_the_engine_whose_cycles_stand_beside_them() -> None:
    """Ports of a byte hold both engines up; a layer's row tells the cycles of one."""
    narrow = msgspec.structs.replace(QUAD_NPU, sram=msgspec.structs.replace(QUAD_NPU.sram, port_bytes=1))
    network = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1), nn.ReLU(), nn.Conv2d(40, 24, 1)).eval()
    compiled = compile_network(network, (1, 3, 24, 24), narrow, precision=Precision("int8"))
    assert isinstance(compiled, Compiled)
    found, trace = profile(compiled, 0)
    for layer in found.layers:
        spans = [span for span in trace.spans if span.layer == layer.row.layer and span.engine[:6] == layer.engine]
        assert layer.conflict_cycles == sum(span.conflict_cycles for span in spans)
    first = found.layers[0]
    assert 0 < first.conflict_cycles < first.row.conflict_cycles
    text = io.StringIO()
    print_profile(found, Console(file=text, width=160))
    cells = next(line.split() for line in text.getvalue().splitlines() if line.startswith("0 "))
    assert cells[2:4] == [f"{first.row.busy_cycles[first.engine]:,}", f"{first.conflict_cycles:,}"]


def test_the_speed_up_over_one_core_is_told(seen: tuple[Profile, Trace]) -> None:
    found, trace = seen
    assert found.parallel_cycles == trace.cycles < found.one_core_cycles
    assert found.bound_cycles <= found.parallel_cycles
    assert 0 < found.dram_share <= 1
    first, *ways = cores_text(found).split("\n")
    assert first.startswith(f"4 cores: {found.one_core_cycles / trace.cycles:.2f} x as fast as one")
    assert len(ways) == len(found.tried)
    assert [way.strip().startswith("*") for way in ways] == [True] + [False] * (len(ways) - 1)
    assert any(way.endswith("one core") and "1.00 x" in way for way in ways)
