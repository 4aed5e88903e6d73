"""A layer of a compiled network -> why it costs what it costs, and what would help.

A layer is known by the path of its module, such as "stages.0.1.conv"; a module that holds others stands for all of them.
"""

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from nas.compiler.driver import Compiled
from nas.compiler.opt.rewrite.branches import layers_in
from nas.core.errors import InputError, suggestion
from nas.cost.array_use import ArrayUse, array_use
from nas.cost.what_if import IsMine, WhatIf, what_ifs
from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Eltwise, Load, Matmul, Store
from nas.ir.overlap import regions_meet
from nas.ir.program import Program
from nas.ir.tensor import Region
from nas.sim.layers import LayerRow, layer_rows
from nas.sim.trace import Span, Trace
from nas.timing.cycles import bandwidth, clock
from nas.timing.matrix import passes
from nas.timing.traffic import command_traffic, moved_bytes

_CONSTANT_KINDS = ("weights", "tables", "other constants")


class EngineUse(msgspec.Struct, frozen=True):
    """One engine's part in a layer. waits: cycles it waited to begin these commands, by what for, the longest first;
    conflict_cycles: of the busy ones those that others, or its own operands, in the same pages of the sram cost.
    """

    engine: str
    commands: int
    busy_cycles: int
    waiting_cycles: int
    waits: dict[str, int]
    conflict_cycles: int = 0


class Roofline(msgspec.Struct, frozen=True):
    """The layer among the processor's limits (Williams et al., Communications of the ACM 52(4), 2009).

    intensity: multiply-adds per byte that is loaded or stored, None where none is; ridge: the intensity from which on the peak can be reached; attained and
    peak: multiply-adds a cycle of the arrays and lanes of all `cores`, for a layer can be shared between them, which share one dram;
    of an array those of the layer's bits, which may take several passes through a cell; roof: what the bandwidth or the peak
    allows at this intensity. What is attained is while the busiest works for the layer: an engine of any core, or the dram.
    """

    intensity: float | None
    ridge: float
    attained: float
    roof: float
    peak: float
    cores: int
    bound: str


class Explanation(msgspec.Struct, frozen=True):
    """Everything about one layer. dram_bytes: by what they are; network_cycles: of the whole parallel program."""

    layer: str
    network: str
    processor: str
    first_cycle: int
    end_cycle: int
    network_cycles: int
    share: float
    macs: int
    engines: tuple[EngineUse, ...]
    array: ArrayUse
    dram_bytes: dict[str, int]
    roofline: Roofline
    what_ifs: tuple[WhatIf, ...]


def explain(compiled: Compiled, layer: str) -> Explanation:
    """Explain `layer` of a compiled network, with the branches that it was joined with; an unknown one is an `InputError` with the
    near name.
    """
    program = compiled.spread.sequence
    commands = program.commands
    names = list(dict.fromkeys(command.layer for command in commands))

    def is_mine(name: str) -> bool:
        return any(each == layer or each.startswith(f"{layer}.") for each in layers_in(name))

    if not any(map(is_mine, names)):
        known = [each for name in names for each in layers_in(name)]
        raise InputError(compiled.naive.name, "explain", "a layer", repr(layer), suggestion(layer, known))
    trace = compiled.spread.trace
    spans = [span for span in trace.spans if is_mine(span.layer)]
    mine = [command for command in commands if is_mine(command.layer)]
    row = _joined_row(trace, spans, layer, compiled.processor)
    return Explanation(
        layer=layer,
        network=compiled.naive.name,
        processor=compiled.processor.name,
        first_cycle=min(span.start_cycles for span in spans),
        end_cycle=max(span.end_cycles for span in spans),
        network_cycles=trace.cycles,
        share=row.cycles / max(1, sum(span.busy_cycles for span in trace.spans)),
        macs=row.macs,
        engines=_engines(spans),
        array=array_use(mine, compiled.processor),
        dram_bytes=_dram_bytes(is_mine, program),
        roofline=_roofline(row, spans, _peak(mine, compiled.processor), compiled.processor),
        what_ifs=what_ifs(compiled, trace, is_mine),
    )


def _joined_row(trace: Trace, spans: list[Span], layer: str, processor: Processor) -> LayerRow:
    """The row of the layer, as if all its commands had its name."""
    named = tuple(msgspec.structs.replace(span, layer=layer) for span in spans)
    return layer_rows(msgspec.structs.replace(trace, spans=named), processor)[0]


def _engines(spans: Iterable[Span]) -> tuple[EngineUse, ...]:
    by_engine: dict[str, list[Span]] = {}
    for span in spans:
        by_engine.setdefault(span.engine, []).append(span)
    uses = []
    for engine, own in by_engine.items():
        waits: Counter[str] = Counter()
        for span in own:
            if span.start_cycles > span.ready_cycles:
                waits[span.wait_reason] += span.start_cycles - span.ready_cycles
        busy_cycles = sum(span.busy_cycles for span in own)
        conflict_cycles = sum(span.conflict_cycles for span in own)
        uses.append(EngineUse(engine, len(own), busy_cycles, waits.total(), dict(waits.most_common()), conflict_cycles))
    return tuple(sorted(uses, key=lambda use: -use.busy_cycles))


def _dram_bytes(is_mine: IsMine, program: Program) -> dict[str, int]:
    """Bytes that loads, stores and the host move: weights, tables and other constants, features."""
    kinds = dict.fromkeys((binding.name for binding in program.constants), _CONSTANT_KINDS[-1])
    for operator in program.operators:
        function = operator.function
        if isinstance(function, Conv | Matmul):
            kinds[operator.inputs[1]] = "weights"
        if isinstance(function, Conv | Matmul | Eltwise) and function.tail.table:
            kinds[operator.inputs[1 if isinstance(function, Eltwise) else 2]] = "tables"
    constants = sorted(
        (each.region.offset_bytes, each.region.end_bytes, kinds[each.name]) for each in program.constants
    )
    moved: Counter[str] = Counter()
    for place, command in enumerate(program.commands):
        if not is_mine(command.layer):
            continue
        for region in (*command.reads, *command.writes):
            if region.memory == "dram":
                alone = isinstance(command.attributes, Load | Store)
                size_bytes = command_traffic(command).dram_bytes if alone else moved_bytes(region)
                parts = _told_apart(region, size_bytes, constants)
                if _CONSTANT_KINDS[-1] in parts and isinstance(command.attributes, Load):
                    parts = _by_use(command.writes[0], size_bytes, program.commands[place + 1 :])
                moved.update(parts)
    return {kind: moved[kind] for kind in (*_CONSTANT_KINDS, "features", "padding") if moved[kind]}


def _told_apart(region: Region, size_bytes: int, constants: Sequence[tuple[int, int, str]]) -> dict[str, int]:
    """The `size_bytes` that move with `region` by what they are; a transfer may bring several constants at once."""
    end = region.end_bytes
    first = max(0, bisect_right(constants, (region.offset_bytes, end, "")) - 1)
    parts: Counter[str] = Counter()
    for start, stop, kind in constants[first:]:
        if start >= end:
            break
        if shared := max(0, min(end, stop) - max(region.offset_bytes, start)):
            parts[kind] += shared
    if len(parts) < 2:
        return {next(iter(parts), "features"): size_bytes}
    return {**parts, "padding": size_bytes - parts.total()}


def _by_use(here: Region, size_bytes: int, later: Iterable[Command]) -> dict[str, int]:
    """A transfer of several constants, told apart by what commands of any layer read of it until others take its bytes in sram."""
    used: dict[Region, str] = {}
    for command in itertools.takewhile(lambda each: not any(_meet(here, target) for target in each.writes), later):
        attributes = command.attributes
        kinds = dict.fromkeys(command.reads, _CONSTANT_KINDS[-1])
        if isinstance(attributes, Conv | Matmul):
            kinds[command.reads[1]] = "weights"
        if isinstance(attributes, Conv | Matmul | Eltwise) and attributes.tail.table:
            kinds[command.reads[1 if isinstance(attributes, Eltwise) else 2]] = "tables"
        used.update({region: kind for region, kind in kinds.items() if _meet(here, region)})
    parts: Counter[str] = Counter()
    for region, kind in used.items():
        parts[kind] += min(region.payload_bytes, size_bytes - parts.total())
    kind = "padding" if parts else _CONSTANT_KINDS[-1]
    parts[kind] += size_bytes - parts.total()
    return dict(parts)


def _meet(a: Region, b: Region) -> bool:
    spans_meet = a.memory == b.memory and a.offset_bytes < b.end_bytes and b.offset_bytes < a.end_bytes
    return spans_meet and regions_meet(a, b)


def _peak(commands: Iterable[Command], processor: Processor) -> float:
    """Multiply-adds a cycle, at most, of all engines for operands of these commands, whichever engine has them."""
    matrix = processor.matrix
    products = [each.attributes for each in commands if isinstance(each.attributes, Conv | Matmul)]
    all_passes = [passes(product.weight, product.input, matrix) for product in products]
    fastest = max((at_once / slices for slices, at_once in all_passes), default=1.0)
    return processor.cores * (matrix.rows * matrix.columns * fastest + processor.vector.lanes)


def _roofline(row: LayerRow, spans: Iterable[Span], peak: float, processor: Processor) -> Roofline:
    bytes_a_cycle = bandwidth(processor) / clock(processor)
    busy: Counter[str] = Counter()
    transfer_bytes = 0
    for span in spans:
        busy[span.engine] += span.busy_cycles
        transfer_bytes += span.transfer_bytes
    # The transfers of several cores share the dram, which can be busier than each of the engines that wait for it.
    attained = row.macs / max(1, transfer_bytes / bytes_a_cycle, *busy.values())
    intensity = row.macs / transfer_bytes if transfer_bytes else None
    roof = peak if intensity is None else min(peak, intensity * bytes_a_cycle)
    return Roofline(intensity, peak / bytes_a_cycle, attained, roof, peak, processor.cores, row.bound)
