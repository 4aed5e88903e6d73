"""What is said of a layer, against the trace, the tensors, and sums done by hand."""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import models
from nas.check.sequential import check_program
from nas.compiler.driver import Compiled, compile_network, programs_of
from nas.compiler.opt.rewrite.branches import layers_in
from nas.compiler.precision import Precision
from nas.core.artifact import read_json, write_json
from nas.core.errors import InputError
from nas.cost.array_use import array_use
from nas.cost.explain import Explanation, explain
from nas.cost.profile import profile
from nas.hw.load import find_processor
from nas.ir.command import Command, Conv, Dataflow
from nas.ir.program import Program
from nas.ir.tensor import Format, dense
from nas.report.programs.explain_table import print_explanation
from nas.sim.parallel import simulate_parallel
from nas.timing.cycles import command_cycles
from nas.timing.matrix import ARRAY_DATAFLOWS

PROCESSOR = find_processor("edge_npu")
CODES = Format(8, "code", 1.0, 1, 0, 255)


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    network = nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 40, 3, padding=1, groups=40),
        nn.Conv2d(40, 70, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(70, 10),
    )  # fmt: skip
    made = compile_network(network.eval(), (1, 3, 32, 32), PROCESSOR)
    assert isinstance(made, Compiled)
    return made


@pytest.fixture(scope="module")
def pointwise(compiled: Compiled) -> Explanation:
    return explain(compiled, "4")


def conv(channels: int, terms: int, pixels: int, groups: int = 1, dataflow: Dataflow = "weight_stationary") -> Command:
    source, weights = (
        dense("sram", 0, (terms * groups, 1, pixels), 8),
        dense("sram", 0, (channels * groups, terms, 1, 1), 8),
    )
    result = dense("sram", 0, (channels * groups, 1, pixels), 8)
    return Command(
        "matrix", "l", (source, weights), (result,), Conv(groups=groups, input=CODES, weight=CODES, dataflow=dataflow)
    )


def test_the_parts_of_a_full_array_are_computing_and_the_wavefront() -> None:
    use = array_use([conv(32, 32, 500)], PROCESSOR)
    assert use.parts["computing"] == 500
    assert use.parts["fill, drain"] == 62 + 32
    assert [use.parts[name] for name in ("wide operands", "empty rows", "empty columns", "groups apart")] == [0] * 4


@pytest.mark.parametrize(
    ("channels", "terms", "empty_rows", "empty_columns"),
    [(16, 32, 0, 500), (33, 32, 0, 1000 - 515.625), (32, 8, 1500, 0)],
)
def test_what_does_not_fill_the_array_is_told(
    channels: int, terms: int, empty_rows: float, empty_columns: float
) -> None:
    parts = array_use(
        [conv(channels, terms, 1000 if channels == 16 else 500 if channels == 33 else 2000)], PROCESSOR
    ).parts
    assert parts["empty rows"] == pytest.approx(empty_rows)
    assert parts["empty columns"] == pytest.approx(empty_columns)


def test_a_stationary_map_that_does_not_fill_the_array_is_told() -> None:
    use = array_use([conv(500, 32, 33, dataflow="input_stationary")], PROCESSOR)
    assert use.parts["empty rows"] == 0
    assert use.parts["empty columns"] == pytest.approx(1000 - 515.625)
    assert [product.folds for product in use.products] == [2]


def test_the_parts_add_up_to_the_cycles() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        sizes = [int(size) for size in generator.integers(1, 100, 4)]
        command = conv(*sizes, dataflow=ARRAY_DATAFLOWS[int(generator.integers(3))])
        use = array_use([command], PROCESSOR)
        assert use.cycles == command_cycles(command, PROCESSOR)
        assert sum(use.parts.values()) == pytest.approx(use.cycles)
        assert 0 < use.utilisation <= 1
        assert all(part > -1e-6 for name, part in use.parts.items() if name != "groups apart")


def test_busy_and_waiting_are_those_of_the_trace(compiled: Compiled, pointwise: Explanation) -> None:
    trace = simulate_parallel(compiled.parallel, PROCESSOR)
    spans = [span for span in trace.spans if span.layer == "4"]
    assert sum(use.busy_cycles for use in pointwise.engines) == sum(span.busy_cycles for span in spans)
    assert sum(use.commands for use in pointwise.engines) == len(spans)
    for use in pointwise.engines:
        waited = sum(s.start_cycles - s.ready_cycles for s in spans if s.engine == use.engine)
        assert use.waiting_cycles == waited == sum(use.waits.values())
    assert pointwise.network_cycles == trace.cycles
    assert sum(pointwise.dram_bytes.values()) == sum(span.dram_bytes for span in spans)


@pytest.mark.parametrize("cores", [2, 8])
def test_several_cores_are_explained_by_what_all_of_them_do(cores: int) -> None:
    processor = msgspec.structs.replace(PROCESSOR, cores=cores)
    network = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)).eval()
    made = compile_network(network, (1, 32, 28, 28), processor)
    assert isinstance(made, Compiled)
    seen = explain(made, "2")
    spans = [span for span in made.spread.trace.spans if span.layer == "2"]
    assert made.spread.is_partitioned
    assert len({span.engine for span in spans if span.engine.startswith("matrix")}) > 1
    assert sum(seen.dram_bytes.values()) == sum(span.dram_bytes for span in spans)
    assert seen.dram_bytes["weights"] >= 64 * 64 * 9 * 4
    assert seen.macs == 64 * 64 * 9 * 28 * 28
    roofline = seen.roofline
    cells = processor.matrix.rows * processor.matrix.columns
    assert roofline.peak == cores * (cells / 16 + processor.vector.lanes)
    busiest = max(sum(s.busy_cycles for s in spans if s.engine == engine) for engine in {s.engine for s in spans})
    dram_cycles = sum(span.dram_bytes for span in spans) / PROCESSOR.dram.bandwidth_bytes_per_s * PROCESSOR.clock_hz
    assert roofline.attained == pytest.approx(seen.macs / max(busiest, dram_cycles))
    assert roofline.attained <= min(roofline.peak, roofline.roof) * 1.0001


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("serial", [False, True])
def test_nobody_is_told_to_go_beyond_the_roof(bits: int, serial: bool) -> None:
    """A layer can be shared between array and lanes, and few bits go through a bit-serial array more than one at a time."""
    processor = find_processor("micro_npu")
    processor = msgspec.structs.replace(processor, matrix=msgspec.structs.replace(processor.matrix, bit_serial=serial))
    stage = {"block": "conv", "depth": 2, "width": 32, "weight_bits": bits, "activation_bits": bits}
    network = models.build({"model": "searchable", "stem_width": 16, "stages": [stage]}, 0).eval()
    made = compile_network(network, (1, 3, 32, 32), processor)
    assert isinstance(made, Compiled)
    for layer in dict.fromkeys(command.layer for command in made.spread.sequence.commands):
        roofline = explain(made, layers_in(layer)[0]).roofline
        assert roofline.attained <= roofline.roof * 1.0001, layer


@pytest.mark.parametrize("serial", [False, True])
def test_the_peak_of_wide_operands_counts_their_passes(serial: bool) -> None:
    """float32 goes through cells of 8 bits in 16 passes: such a layer computes where bytes would still wait for the dram."""
    processor = msgspec.structs.replace(PROCESSOR, matrix=msgspec.structs.replace(PROCESSOR.matrix, bit_serial=serial))
    made = compile_network(nn.Sequential(nn.Conv2d(64, 96, 1)).eval(), (1, 64, 16, 16), processor)
    assert isinstance(made, Compiled)
    roofline = explain(made, "0").roofline
    assert roofline.peak == 32 * 32 / 16 + 32
    assert roofline.ridge == pytest.approx(roofline.peak / 5)
    assert roofline.attained <= roofline.roof


def test_bytes_are_told_apart(pointwise: Explanation) -> None:
    assert pointwise.dram_bytes["weights"] >= 40 * 70 * 4
    assert pointwise.dram_bytes["tables"] >= 2 * 70 * 4


def test_what_moves_with_a_layer_for_others_is_told_by_what_it_is() -> None:
    network = nn.Sequential(*(nn.Linear(20, 20) for _ in range(3))).eval()
    made = compile_network(network, (1, 20), PROCESSOR, precision=Precision("int8"))
    assert isinstance(made, Compiled)
    seen = [explain(made, name).dram_bytes for name in "012"]
    assert "weights" not in seen[2]  # a load of the layer before brings them
    assert sum(each.get("weights", 0) for each in seen) == 3 * 20 * 20
    assert sum(each.get("tables", 0) for each in seen) == 3 * 2 * 20 * 4
    assert sum(each.get("padding", 0) for each in seen) < 3 * 2 * 64


def test_what_is_compiled_anew_leaves_out_the_same_passes() -> None:
    switched_off = frozenset({"residency"})
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)).eval()
    made = compile_network(network, (1, 3, 24, 24), PROCESSOR, switched_off)
    wider = msgspec.structs.replace(PROCESSOR, vector=msgspec.structs.replace(PROCESSOR.vector, lanes=64))
    anew = compile_network(network, (1, 3, 24, 24), wider, switched_off)
    assert isinstance(made, Compiled)
    assert isinstance(anew, Compiled)
    quickest = min(anew.spread.trace.cycles, simulate_parallel(made.parallel, wider).cycles)
    (saved,) = (each.network_cycles_saved for each in explain(made, "0").what_ifs if "lanes" in each.what)
    assert saved == made.spread.trace.cycles - quickest


class _Attention(nn.Module):
    """Two layers that share their weights; a product that has none of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys = nn.Linear(24, 24), nn.Linear(24, 24)
        self.keys.weight = self.queries.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.queries(x) @ self.keys(x).mT


def test_another_processor_saves_no_less_than_where_it_is_compiled_for() -> None:
    """With twice the bandwidth other layers are worth several cores."""
    description = {"block": "mobile_v2", "width": 16, "weight_bits": 8, "activation_bits": 8}
    network = models.build({"model": "searchable", "stages": [{**description, "depth": 2}]}, 0).eval()
    four = find_processor("quad_npu")
    wider = msgspec.structs.replace(four.dram, bandwidth_bytes_per_s=2 * four.dram.bandwidth_bytes_per_s)
    made, other = (
        compile_network(network, (1, 3, 32, 32), each) for each in (four, msgspec.structs.replace(four, dram=wider))
    )
    assert isinstance(made, Compiled) and isinstance(other, Compiled)
    (saved,) = (each for each in explain(made, "stages").what_ifs if each.what == "2 x DRAM bandwidth")
    assert saved.network_cycles_saved >= made.spread.trace.cycles - other.spread.trace.cycles > 0


def test_half_the_bits_are_those_of_weights_and_for_all_who_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made = compile_network(_Attention().eval(), (1, 24, 24), PROCESSOR)
    assert isinstance(made, Compiled)
    programs: list[Program] = []

    def kept(*asked: Any) -> Any:
        programs.append((found := programs_of(*asked))[0][0])
        return found

    monkeypatch.setattr("nas.cost.what_if.programs_of", kept)
    half = "half the bits in the layer's weights"
    saved = [[each for each in explain(made, name).what_ifs if each.what == half] for name in ("queries", "keys")]
    assert saved[0][0].network_cycles_saved == saved[1][0].network_cycles_saved > 0
    assert all(check_program(program, PROCESSOR) == () for program in programs)
    assert half not in {each.what for each in explain(made, "matmul").what_ifs}


def test_what_ifs_are_sorted_and_more_bandwidth_does_no_harm(pointwise: Explanation) -> None:
    saved = [each.network_cycles_saved for each in pointwise.what_ifs]
    assert saved == sorted(saved, reverse=True)
    by_name = {each.what: each for each in pointwise.what_ifs}
    assert by_name["2 x DRAM bandwidth"].network_cycles_saved > 0
    assert by_name["the layer's channels cut to a multiple of 32"].layer_cycles_saved > 0
    assert by_name["half the bits in the layer's weights"].layer_cycles_saved > 0


def test_a_module_stands_for_the_layers_in_it() -> None:
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)), nn.Conv2d(8, 4, 1))
    made = compile_network(network.eval(), (1, 3, 16, 16), PROCESSOR)
    assert isinstance(made, Compiled)
    whole, parts = explain(made, "0"), [explain(made, name) for name in ("0.0", "0.2")]
    assert whole.macs == sum(part.macs for part in parts)
    assert whole.share == pytest.approx(sum(part.share for part in parts))


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.host, self.head = nn.LSTM(40, 64, batch_first=True), nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.host(x)[0][:, -1])


def test_a_host_that_reads_faster_than_the_dram_transfers_is_what_its_layer_waits_for() -> None:
    processor = msgspec.structs.replace(find_processor("micro_npu"), cores=2)
    made = compile_network(_Recurrent().eval(), (1, 5, 40), processor)
    assert isinstance(made, Compiled)
    whole, _ = profile(made, 0)
    assert whole.bound_cycles <= whole.parallel_cycles
    assert whole.dram_share <= 1
    assert {each.row.layer: each.row.bound for each in whole.layers}["host"] == "host"
    seen = explain(made, "host")
    assert seen.roofline.bound == "host"
    assert sum(seen.dram_bytes.values()) > 4 * 4 * 64 * (40 + 64)


def test_an_unknown_layer_gets_the_near_name(compiled: Compiled) -> None:
    with pytest.raises(InputError, match="did you mean"):
        explain(compiled, "44")


def test_files_are_read_back_though_a_layer_moves_nothing(tmp_path: Path) -> None:
    """JSON has no infinity."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2), nn.Conv2d(8, 4, 1)).eval()
    made = compile_network(network, (1, 3, 16, 16), PROCESSOR, precision=Precision("int8"))
    assert isinstance(made, Compiled)
    whole, seen = profile(made, 0)[0], explain(made, "1")
    assert None in [layer.row.intensity for layer in whole.layers]
    assert seen.roofline.intensity is None
    assert seen.roofline.roof == seen.roofline.peak
    for value in (whole, seen):
        write_json(tmp_path / "value.json", value, "value", 1)
        assert read_json(tmp_path / "value.json", type(value), "value", 1) == value
    text = io.StringIO()
    print_explanation(seen, Console(file=text, width=200))
    assert "roofline: no DRAM traffic, on the compute side" in text.getvalue()


def test_a_layer_of_a_slow_processor_does_not_seem_to_attain_nothing() -> None:
    """A cell and a lane, and a dram that brings a byte in thousands of cycles."""
    processor = msgspec.structs.replace(
        PROCESSOR,
        dram=msgspec.structs.replace(PROCESSOR.dram, bandwidth_bytes_per_s=4e5),
        matrix=msgspec.structs.replace(PROCESSOR.matrix, rows=1, columns=1),
        vector=msgspec.structs.replace(PROCESSOR.vector, lanes=1),
    )
    made = compile_network(nn.Sequential(nn.Linear(30, 10)).eval(), (1, 30), processor, precision=Precision("int8"))
    assert isinstance(made, Compiled)
    seen, text = explain(made, "0"), io.StringIO()
    print_explanation(seen, Console(file=text, width=200))
    roofline = seen.roofline
    assert 0 < roofline.attained <= roofline.roof < 0.5
    assert f"{roofline.attained:.2g} attained" in text.getvalue()
    assert f"so at most {roofline.roof:.2g} of 2 a cycle" in text.getvalue()


def test_it_can_be_read_in_a_terminal(pointwise: Explanation) -> None:
    text = io.StringIO()
    print_explanation(pointwise, Console(file=text, width=80))
    assert "2 x DRAM bandwidth" in text.getvalue()
    assert "roofline" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert ": 54 folds, " in text.getvalue()
    once = msgspec.structs.replace(pointwise.array.products[0], folds=1)
    array = msgspec.structs.replace(pointwise.array, products=[once])
    print_explanation(msgspec.structs.replace(pointwise, array=array), Console(file=text, width=80))
    assert ": 1 fold, " in text.getvalue()
