"""cmds.json -> cmds-o.json: the passes in order, then commands, addresses, and a program again."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from nas.compiler.network import Network, tensor_bytes
from nas.compiler.opt.alloc import allocate
from nas.compiler.opt.emit import emit
from nas.compiler.opt.fuse import Fuse
from nas.compiler.opt.prefetch import lifetimes, prefetch
from nas.compiler.opt.residency import decide_residency
from nas.compiler.opt.select import SelectDataflow
from nas.compiler.opt.storage import Buffer, Storage, assign_storage
from nas.compiler.opt.tidy import CodedInputs, DropDead, SinkViews
from nas.compiler.passes import Pass, run_passes
from nas.compiler.regions import aligned, place
from nas.core.errors import DoesNotFit, InputError, Violation, suggestion
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.program import Binding, Program
from nas.ir.tensor import Region

PASSES: tuple[Pass, ...] = (SinkViews(), CodedInputs(), Fuse(), DropDead(), SelectDataflow())
# The switches of what happens after the passes.
PLANNING = ("residency", "prefetch")

# The room that planning may fill: buffers of odd sizes rarely pack without gaps, so a plan that doesn't pack is made anew
# with less.
_FILLS = (1.0, 0.9, 0.8, 0.65, 0.5)
_PIECES = 4
_WINDOW = 64


def check_switches(names: Iterable[str]) -> frozenset[str]:
    """The passes to leave out, by name; an unknown one is an `InputError`."""
    known = [step.name for step in PASSES] + list(PLANNING)
    for name in names:
        if name not in known:
            raise InputError("without", "", "a pass", repr(name), suggestion(name, known))
    return frozenset(names)


def network_of_program(program: Program, constants: Mapping[str, NDArray[np.generic]], where: object) -> Network:
    """The operators of a program, ready for passes. InputError where `constants` (of `where`) don't fit the program."""
    tensors = {tensor.name: tensor for tensor in program.tensors}
    for binding in program.constants:
        stored, tensor = constants.get(binding.name), tensors.get(binding.name)
        if tensor is None:
            raise InputError(where, "constants", "a tensor of that name", repr(binding.name))
        if stored is None or stored.dtype != np.uint8 or stored.size != tensor_bytes(tensor):
            got = "nothing" if stored is None else f"{stored.size} of {stored.dtype}"
            raise InputError(where, f"weights {binding.name}", f"{tensor_bytes(tensor)} bytes", got)
    for operator in program.operators:
        for name in (*operator.inputs, *operator.outputs):
            if name not in tensors:
                raise InputError(where, f"operators {operator.layer}", "tensors of the program", repr(name))
    return Network(
        program.name,
        program.operators,
        tensors,
        tuple(binding.name for binding in program.inputs),
        tuple(binding.name for binding in program.outputs),
        {name: array.astype(np.uint8, copy=False) for name, array in constants.items()},
    )


def optimise(
    network: Network, processor: Processor, switched_off: frozenset[str] = frozenset()
) -> tuple[Program, dict[str, NDArray[np.uint8]]]:
    """The optimised program and the bytes of its constants. Raises `DoesNotFit` where the sram is too small."""
    network = run_passes(PASSES, network, processor, switched_off)
    storage = assign_storage(network)
    capacity_bytes = processor.sram.size_bytes
    need_bytes = 0
    for fill in _FILLS:
        try:
            program = _attempt(network, storage, processor, int(capacity_bytes * fill), switched_off)
        except DoesNotFit:
            if fill == _FILLS[0]:
                raise
            break
        if program.used_bytes["sram"] <= capacity_bytes:
            return program, dict(network.constants)
        need_bytes = program.used_bytes["sram"]
    raise DoesNotFit(Violation("sram_bytes", network.name, need_bytes, capacity_bytes, "bytes", "more SRAM"))


def _attempt(
    network: Network, storage: Storage, processor: Processor, room_bytes: int, switched_off: frozenset[str]
) -> Program:
    if "residency" in switched_off:
        storage = _all_in_dram(storage)
    residency = decide_residency(network, storage, processor, room_bytes)
    places, bindings, dram_bytes = _dram(network, storage, residency.on_chip)
    if dram_bytes > processor.dram.size_bytes:
        raise DoesNotFit(Violation("dram_bytes", network.name, dram_bytes, processor.dram.size_bytes, "bytes"))
    emitted = emit(network, storage, residency, places, _PIECES)
    commands = emitted.commands
    if "prefetch" not in switched_off:
        commands = prefetch(commands, emitted.buffer_bytes, room_bytes, _WINDOW)
    allocation = allocate(lifetimes(commands, emitted.buffer_bytes), emitted.buffer_bytes)
    return Program(
        name=network.name,
        processor=processor.name,
        stage="opt",
        tensors=tuple(network.tensors.values()),
        operators=network.operators,
        inputs=tuple(bindings[name] for name in network.inputs),
        outputs=tuple(bindings[name] for name in network.outputs),
        constants=tuple(bindings[name] for name, tensor in network.tensors.items() if tensor.role == "constant"),
        commands=tuple(_addressed(command, allocation.offsets) for command in commands),
        used_bytes={"dram": dram_bytes, "sram": allocation.peak_bytes},
    )


def _dram(
    network: Network, storage: Storage, on_chip: frozenset[str]
) -> tuple[dict[str, int], dict[str, Binding], int]:
    """Addresses in dram of all that lies there, the bindings of constants, inputs and outputs, and the bytes in use."""
    places: dict[str, int] = {}
    bindings: dict[str, Binding] = {}
    end_bytes = 0
    for name, tensor in network.tensors.items():
        if tensor.role == "constant":
            places[name] = end_bytes
            bindings[name] = Binding(name, place(tensor, "dram", end_bytes), tensor.format)
            end_bytes = aligned(end_bytes + tensor_bytes(tensor))
    for name, buffer in storage.buffers.items():
        if name not in on_chip:
            places[name] = end_bytes
            end_bytes = aligned(end_bytes + buffer.size_bytes)
    for name in (*network.inputs, *network.outputs):
        region = storage.regions[name]
        region = Region("dram", places[region.memory] + region.offset_bytes, region.shape, region.strides, region.bits)
        bindings[name] = Binding(name, region, network.tensors[name].format)
    return places, bindings, end_bytes


def _addressed(command: Command, offsets: dict[str, int]) -> Command:
    """The command with addresses in sram for the names of buffers."""
    return Command(
        command.engine,
        command.layer,
        tuple(_at(region, offsets) for region in command.reads),
        tuple(_at(region, offsets) for region in command.writes),
        command.attributes,
    )


def _at(region: Region, offsets: dict[str, int]) -> Region:
    if region.memory == "dram":
        return region
    return Region("sram", offsets[region.memory] + region.offset_bytes, region.shape, region.strides, region.bits)


def _all_in_dram(storage: Storage) -> Storage:
    buffers = {name: Buffer(name, buffer.size_bytes, True) for name, buffer in storage.buffers.items()}
    return Storage(storage.regions, buffers, storage.moves)
