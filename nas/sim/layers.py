"""A trace -> a row for each layer: where its time and its bytes go, and what bounds it."""

from typing import Literal

import msgspec

from nas.hw.spec import Processor
from nas.ir.cores import engine_of_queue
from nas.sim.trace import Span, Trace
from nas.timing.cycles import bandwidth, clock

_COMPUTE_ENGINES = ("matrix", "vector")
_NOTICED = 20  # a command that conflicts cost a twentieth of its time is bound by the ports


class LayerRow(msgspec.Struct, frozen=True):
    """One layer of a trace.

    busy_cycles: by engine, of all cores together; cycles: their sum; share: of the sum over all layers; utilisation:
    multiply-adds on the matrix engine over its cells and the cycles it was busy; intensity: multiply-adds per byte of dram,
    None without traffic; bound: what takes this layer longest if all else overlaps, see `layer_rows`; conflict_cycles:
    of the busy ones those that the ports of single pages cost.
    """

    layer: str
    busy_cycles: dict[str, int]
    cycles: int
    share: float
    utilisation: float
    macs: int
    dram_bytes: int
    sram_bytes: int
    energy_pj: float
    intensity: float | None
    bound: Literal["compute", "dram", "sram", "host"]
    conflict_cycles: int = 0


def layer_rows(trace: Trace, processor: Processor) -> list[LayerRow]:
    """A row for each layer, in the order in which layers first start.

    The bound is the longest of three: the busiest matrix or vector engine of any core ("compute", or "sram" where the
    ports hold that engine up for most of the time), the layer's transfers at full dram bandwidth, the host.
    """
    layers: dict[str, list[Span]] = {}
    for span in sorted(trace.spans, key=lambda span: span.start_cycles):
        layers.setdefault(span.layer, []).append(span)
    total = sum(span.busy_cycles for span in trace.spans)
    return [_row(layer, spans, total, processor) for layer, spans in layers.items()]


def _row(layer: str, spans: list[Span], total_cycles: int, processor: Processor) -> LayerRow:
    busy: dict[str, int] = {}
    for span in spans:
        engine = engine_of_queue(span.engine)[0]
        busy[engine] = busy.get(engine, 0) + span.busy_cycles
    cycles = sum(busy.values())
    matrix_cycles = busy.get("matrix", 0)
    cells = processor.matrix.rows * processor.matrix.columns
    matrix_macs = sum(span.macs for span in spans if engine_of_queue(span.engine)[0] == "matrix")
    macs, dram_bytes = sum(span.macs for span in spans), sum(span.dram_bytes for span in spans)
    sram_bytes = sum(span.sram_bytes for span in spans)
    return LayerRow(
        layer=layer,
        busy_cycles=busy,
        cycles=cycles,
        share=cycles / total_cycles if total_cycles else 0.0,
        utilisation=matrix_macs / (cells * matrix_cycles) if matrix_cycles else 0.0,
        macs=macs,
        dram_bytes=dram_bytes,
        sram_bytes=sram_bytes,
        energy_pj=sum(span.energy_pj for span in spans),
        intensity=macs / dram_bytes if dram_bytes else None,
        bound=_bound(spans, busy, processor),
        conflict_cycles=sum(span.conflict_cycles for span in spans),
    )


def _bound(spans: list[Span], busy: dict[str, int], processor: Processor) -> Literal["compute", "dram", "sram", "host"]:
    # Cores work side by side: the busiest of their engines is what the layer takes at least.
    by_queue: dict[str, int] = {}
    for span in spans:
        by_queue[span.engine] = by_queue.get(span.engine, 0) + span.busy_cycles
    computing = [queue for queue in by_queue if engine_of_queue(queue)[0] in _COMPUTE_ENGINES]
    busiest = max(computing, key=lambda queue: by_queue[queue], default="")
    compute_cycles, host_cycles = by_queue.get(busiest, 0), busy.get("host", 0)
    dram_cycles = sum(span.transfer_bytes for span in spans) * clock(processor) / bandwidth(processor)
    if host_cycles > max(compute_cycles, dram_cycles):
        return "host"
    if dram_cycles > compute_cycles:
        return "dram"
    port_cycles = sum(span.busy_cycles for span in spans if span.engine == busiest and _is_held_up(span, processor))
    return "sram" if 2 * port_cycles > compute_cycles else "compute"


def _is_held_up(span: Span, processor: Processor) -> bool:
    """Whether the ports of the whole sram, or those of a page, are what the command takes longest for."""
    if span.conflict_cycles * _NOTICED > span.busy_cycles:
        return True
    port_bytes = processor.sram.banks * processor.sram.port_bytes
    return span.sram_bytes > port_bytes * (span.busy_cycles - processor.issue_cycles - 1)
