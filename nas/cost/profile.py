"""A compiled network -> where its time and its bytes go: a row for each layer, and the totals of all three programs."""

import math
from collections import Counter

import msgspec

from nas.compiler.driver import Compiled
from nas.cost.model import Cost
from nas.cost.simulated import cost_of
from nas.ir.command import Conv, Host, Matmul
from nas.ir.cores import engine_of_queue
from nas.ir.program import Operator, Program
from nas.ir.tensor import Tensor
from nas.sim.layers import LayerRow, layer_rows
from nas.sim.sequential import simulate
from nas.sim.trace import Trace
from nas.timing.bounds import program_bounds
from nas.timing.cycles import transfer_cycles


class LayerProfile(msgspec.Struct, frozen=True):
    """One layer of the parallel program.

    row: what the simulator saw of it; engine: the one that computes it; pixels_per_weight: how often a weight is used,
    N * H * W / (K * Kh * Kw) of the layer's input and kernel (0 for layers without weights); conflict_cycles: of the
    busy ones of `engine` alone those that the ports of single pages cost.
    """

    row: LayerRow
    engine: str
    pixels_per_weight: float
    conflict_cycles: int = 0


class Profile(msgspec.Struct, frozen=True):
    """cycles of each program; bound_cycles: no program of this network can be faster on this processor.

    host_layers: layers that no engine knows, which the host computes. one_core_cycles: of the parallel program of a single
    core, its images together or in turn; partition: how the work is spread over the `cores`; tried: simulated cycles of every partition that was tried;
    dram_share: of the time the dram would be busy with transfers at full bandwidth.
    """

    name: str
    processor: str
    naive_cycles: int
    sequential_cycles: int
    parallel_cycles: int
    bound_cycles: int
    compulsory_bytes: int
    cost: Cost
    layers: tuple[LayerProfile, ...]
    host_layers: tuple[str, ...]
    cores: int
    one_core_cycles: int
    partition: str
    tried: dict[str, int]
    dram_share: float


def profile(compiled: Compiled, parameters: int) -> tuple[Profile, Trace]:
    """The profile of a compiled network with `parameters` parameters, and the trace of its parallel program."""
    processor, program = compiled.processor, compiled.optimised
    trace = compiled.spread.trace
    bounds = program_bounds(program, processor)
    reuse = _reuse(program)
    order = {operator.layer: index for index, operator in enumerate(program.operators)}
    conflicts: Counter[tuple[str, str]] = Counter()
    for span in trace.spans:
        conflicts[span.layer, engine_of_queue(span.engine)[0]] += span.conflict_cycles
    rows = tuple(
        LayerProfile(row, _engine(row), reuse.get(row.layer, 0.0), conflicts[row.layer, _engine(row)])
        for row in sorted(layer_rows(trace, processor), key=lambda row: order.get(row.layer, 0))
    )
    return (
        Profile(
            name=program.name,
            processor=processor.name,
            naive_cycles=simulate(compiled.naive, processor).cycles,
            sequential_cycles=simulate(program if processor.cores > 1 else compiled.spread.sequence, processor).cycles,
            parallel_cycles=trace.cycles,
            bound_cycles=bounds.cycles,
            compulsory_bytes=bounds.compulsory_bytes,
            cost=cost_of(program, trace, parameters, compiled.parallel.used_bytes),
            layers=rows,
            host_layers=tuple(operator.layer for operator in program.operators if isinstance(operator.function, Host)),
            cores=processor.cores,
            one_core_cycles=compiled.spread.one_core_cycles,
            partition=compiled.spread.partition,
            tried=dict(compiled.spread.cycles),
            dram_share=transfer_cycles(trace.transfer_bytes, processor) / max(trace.cycles, 1),
        ),
        trace,
    )


def _engine(row: LayerRow) -> str:
    """The engine that computes the layer: the busiest but for the DMA engines, unless there are only those."""
    computing = {name: cycles for name, cycles in row.busy_cycles.items() if not name.startswith("dma")}
    busy = computing or row.busy_cycles
    return max(busy, key=lambda name: busy[name])


def _reuse(program: Program) -> dict[str, float]:
    tensors = {tensor.name: tensor for tensor in program.tensors}
    return {
        operator.layer: _pixels_per_weight(operator, tensors)
        for operator in program.operators
        if isinstance(operator.function, Conv | Matmul)
    }


def _pixels_per_weight(operator: Operator, tensors: dict[str, Tensor]) -> float:
    source, weights = tensors[operator.inputs[0]].shape, tensors[operator.inputs[1]].shape
    return source[0] * math.prod(source[2:]) / (weights[0] * math.prod(weights[2:]))
