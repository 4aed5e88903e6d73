"""A compiled network -> how many cycles it would take if one thing were better, each measured by simulating it.

Another processor runs the same program, and what is compiled anew for it: tiles, engines and the share of each core are chosen by
its times; the quicker counts. Cycles are of the given processor's clock.
"""

import math
from collections.abc import Callable, Iterator

import msgspec

from nas.compiler.driver import Compiled, programs_of
from nas.compiler.network import Network
from nas.core.errors import DoesNotFit
from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Matmul
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Operator, Program
from nas.ir.tensor import ELEMENT_BITS, Format, Region
from nas.sim.parallel import simulate_parallel
from nas.sim.trace import Trace

IsMine = Callable[[str], bool]
_replace = msgspec.structs.replace


class WhatIf(msgspec.Struct, frozen=True):
    """What one change saves. layer_cycles: busy cycles of all engines for the layer; negative where the change does harm."""

    what: str
    layer_cycles_saved: int
    network_cycles_saved: int


def what_ifs(compiled: Compiled, trace: Trace, is_mine: IsMine) -> tuple[WhatIf, ...]:
    """All changes that can be made, the one that saves the network most first; `is_mine` tells the layer's name."""
    before = (_layer_cycles(trace, is_mine), trace.cycles)
    found = []
    for what, after in _runs(compiled, is_mine):
        found.append(WhatIf(what, before[0] - _layer_cycles(after, is_mine), before[1] - after.cycles))
    return tuple(sorted(found, key=lambda each: (-each.network_cycles_saved, -each.layer_cycles_saved)))


def _runs(compiled: Compiled, is_mine: IsMine) -> Iterator[tuple[str, Trace]]:
    processor, par = compiled.processor, compiled.parallel
    dram, sram, matrix, vector = processor.dram, processor.sram, processor.matrix, processor.vector
    better = {
        "2 x DRAM bandwidth": _replace(
            processor, dram=_replace(dram, bandwidth_bytes_per_s=2 * dram.bandwidth_bytes_per_s)
        ),
        "no DRAM latency": _replace(processor, dram=_replace(dram, latency_s=0.0)),
        "2 x SRAM": _replace(processor, sram=_replace(sram, size_bytes=2 * sram.size_bytes)),
        "2 x SRAM ports": _replace(processor, sram=_replace(sram, port_bytes=2 * sram.port_bytes)),
        "2 x vector lanes": _replace(processor, vector=_replace(vector, lanes=2 * vector.lanes)),
        "2 x rows of the array": _replace(processor, matrix=_replace(matrix, rows=2 * matrix.rows)),
        "2 x columns of the array": _replace(processor, matrix=_replace(matrix, columns=2 * matrix.columns)),
    }
    network = _network(compiled.naive)
    for what, other in better.items():
        same, anew = simulate_parallel(par, other), _anew(compiled, network, other)
        yield what, anew if anew is not None and anew.cycles < same.cycles else same
    narrow = _half_bits(network, is_mine)
    if narrow is not None:
        anew = _anew(compiled, narrow, processor)
        if anew is not None:
            yield "half the bits in the layer's weights", anew
    cut = _cut(par, is_mine, matrix.columns)
    if cut is not None:
        yield f"the layer's channels cut to a multiple of {matrix.columns}", simulate_parallel(cut, processor)


def _layer_cycles(trace: Trace, is_mine: IsMine) -> int:
    return sum(span.busy_cycles for span in trace.spans if is_mine(span.layer))


def _network(program: Program) -> Network:
    """The network of a program, without bytes: it can be priced."""
    tensors = {tensor.name: tensor for tensor in program.tensors}
    inputs, outputs = (tuple(each.name for each in bound) for bound in (program.inputs, program.outputs))
    return Network(program.name, program.operators, tensors, inputs, outputs)


def _anew(compiled: Compiled, network: Network, processor: Processor) -> Trace | None:
    """The run of `network`, compiled with the same passes as `compiled`; None where it does not fit."""
    try:
        return programs_of(network, processor, compiled.switched_off, compiled.ladder)[1].trace
    except DoesNotFit:
        return None


def _half_bits(network: Network, is_mine: IsMine) -> Network | None:
    """The network with half the bits in the layer's weights, for all who share them; None if there are none to halve.

    A map in the place of weights is none, and a constant that somebody reads as something else stays as it is.
    """
    halves: dict[str, Format] = {}
    for name in {name for operator in network.operators if is_mine(operator.layer) for name in operator.inputs}:
        tensor, readers = network.tensors[name], [network.operators[index] for index in network.users[name]]
        half = _half(tensor.format)
        if half is not None and tensor.role == "constant" and all(_are_weights(name, each) for each in readers):
            halves[name] = half
    if not halves:
        return None
    narrow = {name: _replace(network.tensors[name], format=half) for name, half in halves.items()}
    operators = tuple(
        _replace(each, function=_replace(each.function, weight=halves[each.inputs[1]]))
        if isinstance(each.function, Conv | Matmul) and each.inputs[1] in halves
        else each
        for each in network.operators
    )
    return Network(network.name, operators, {**network.tensors, **narrow}, network.inputs, network.outputs)


def _are_weights(name: str, reader: Operator) -> bool:
    places = [place for place, each in enumerate(reader.inputs) if each == name]
    return isinstance(reader.function, Conv | Matmul) and places == [1]


def _half(form: Format) -> Format | None:
    bits = form.bits // 2
    if not form.is_code:
        return Format(16) if form.bits == 32 else None
    if bits not in ELEMENT_BITS or form.bits == 32:
        return None
    levels = (1 << bits) - 1
    return _replace(form, bits=bits, levels=levels, offset=-levels if form.offset else 0)


def _cut(par: ParProgram, is_mine: IsMine, columns: int) -> ParProgram | None:
    """The program with fewer channels in the layer's commands on the array; to be timed, not to be executed."""
    changed = False
    queues: dict[str, tuple[Step, ...]] = {}
    for name, steps in par.queues.items():
        cut = []
        for step in steps:
            fewer = _with_fewer_channels(step.command, columns) if is_mine(step.command.layer) else None
            changed = changed or fewer is not None
            cut.append(step if fewer is None else Step(fewer, step.waits, step.signals))
        queues[name] = tuple(cut)
    return _replace(par, queues=queues) if changed else None


def _with_fewer_channels(command: Command, columns: int) -> Command | None:
    attributes = command.attributes
    dense = isinstance(attributes, Matmul) or (isinstance(attributes, Conv) and attributes.groups == 1)
    if command.engine != "matrix" or not dense:
        return None
    weights = command.reads[1]
    channels = weights.shape[0] // columns * columns
    if channels in (0, weights.shape[0]):
        return None
    reads = (command.reads[0], _smaller(weights, channels / weights.shape[0]), *command.reads[2:])
    target = command.writes[0]
    if len(target.shape) != 3:
        return Command(command.engine, command.layer, reads, command.writes, attributes)
    return Command(command.engine, command.layer, reads, (_smaller(target, channels / target.shape[0]),), attributes)


def _smaller(region: Region, factor: float) -> Region:
    """The region with its first axis cut."""
    return _replace(region, shape=(max(1, math.floor(region.shape[0] * factor + 0.5)), *region.shape[1:]))
