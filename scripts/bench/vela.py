"""DRAM traffic and cycles beside what Arm's compiler for its Ethos-U says of the same networks on like memories.

The figures of Vela are those of its own reports (ethos-u-vela 5.2.0, int8 networks of 224x224 with random weights, batch 1):
Ethos-U65-512 in `Dedicated_Sram_384KB` (1 GHz, DRAM of 3.75 GB/s) and Ethos-U55-256 in `Shared_Sram` (500 MHz, flash of
0.5 GB/s). Ours are of processors with as many multipliers, as much of each memory, and the same clock and bandwidth.

    DRAM, Vela, ours        megabytes that pass between the chip and what lies outside it; fewest: those that must pass, at 8 bits a weight
    SRAM, Vela              KiB in use
    cycles, Vela, ours      millions; estimates of two machines, so no ratio of code quality; 384 KiB: ours with so much SRAM

Vela compresses weights, by 0 to 1 % of those here, and on the U55 finds its input image in SRAM.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import torchvision

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.hw.spec import Matrix, Processor
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.timing.bounds import program_bounds

NAME = "vela"
_SMALL_KIB = 384
Row = tuple[str, float, str]


@dataclass(frozen=True)
class _Report:
    """What Vela's summary says of one network: bytes outside the chip, KiB of SRAM in use, and cycles."""

    network: str
    moved_bytes: int
    sram_kib: float
    cycles: int


_REPORTS = {
    "U65-512": (
        _Report("mobilenet_v2", 11_109_936, 375.97, 4_053_203),
        _Report("resnet18", 34_759_920, 364.94, 10_336_049),
        _Report("resnet50", 107_045_888, 382.53, 29_201_666),
    ),
    "U55-256": (
        _Report("mobilenet_v2", 3_690_976, 1_474.44, 6_049_355),
        _Report("resnet18", 13_093_920, 1_044.89, 16_956_753),
        _Report("resnet50", 27_169_264, 1_782.52, 38_055_533),
    ),
}


def run() -> list[Row]:
    """All networks on the memories of both."""
    return [row for name, reports in _REPORTS.items() for report in reports for row in _rows(name, _like(name), report)]


def _like(name: str) -> Processor:
    """A processor with the multipliers, the memories and the clock of the Ethos-U of that name."""
    replace, base = msgspec.structs.replace, find_processor("edge_npu")
    clock_hz, bytes_per_s, kib, matrix = {
        "U65-512": (1.0e9, 3.75e9, 384, Matrix(16, 32)),
        "U55-256": (0.5e9, 0.5e9, 2048, Matrix(16, 16)),
    }[name]
    dram = replace(base.dram, bandwidth_bytes_per_s=bytes_per_s)
    return replace(
        base, name=name, clock_hz=clock_hz, dram=dram, sram=replace(base.sram, size_bytes=kib * 1024), matrix=matrix
    )


def _rows(name: str, processor: Processor, report: _Report) -> Iterator[Row]:
    compiled = _compiled(report.network, processor)
    moved = sum(span.dram_bytes for span in simulate(compiled.optimised, processor).spans)
    fewest = program_bounds(compiled.optimised, processor).compulsory_bytes
    what = f"{name} {report.network}"
    yield f"{what} DRAM, Vela", report.moved_bytes / 1e6, "MB"
    yield f"{what} DRAM, ours", moved / 1e6, "MB"
    yield f"{what} DRAM, fewest", fewest / 1e6, "MB"
    yield f"{what} SRAM, Vela", report.sram_kib, "KiB"
    yield f"{what} cycles, Vela", report.cycles / 1e6, "M"
    yield f"{what} cycles, ours", _cycles(compiled) / 1e6, "M"
    small = msgspec.structs.replace(processor.sram, size_bytes=_SMALL_KIB * 1024)
    if small != processor.sram:
        with_less = _compiled(report.network, msgspec.structs.replace(processor, sram=small))
        yield f"{what} cycles, {_SMALL_KIB} KiB", _cycles(with_less) / 1e6, "M"


def _cycles(compiled: Compiled) -> int:
    return simulate_parallel(compiled.parallel, compiled.processor).cycles


def _compiled(network: str, processor: Processor) -> Compiled:
    module = torchvision.models.get_model(network, weights=None).eval().to("meta")
    compiled = compile_network(module, (1, 3, 224, 224), processor, precision=Precision("int8"))
    assert isinstance(compiled, Compiled), compiled
    return compiled
