"""The programs of the cores -> one program: shared tensors at their places in dram, and all commands in one legal order.

Each core's program was planned as if it were alone, with what it shares as its inputs and outputs. Here these become parts
of the shared tensors, everything else in its dram moves behind, and its sram gets the name of the core. What fetches a part
of a shared tensor comes behind whatever stores it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.compiler.network import Network, tensor_bytes
from nas.compiler.parallel.box import Box, meet
from nas.compiler.parallel.order import Job, Schedule
from nas.compiler.parallel.relocate import CoreDram
from nas.compiler.regions import aligned, place
from nas.core.errors import DoesNotFit, Violation
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.cores import on_core, queue_name, sram_name
from nas.ir.deps import dependences
from nas.ir.program import Binding, Program
from nas.ir.tensor import Region

Packed = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class CoreProgram:
    """core: that executes `program`; shared: which part of which tensor each of its inputs and outputs is."""

    core: int
    program: Program
    packed: Packed
    shared: Mapping[str, tuple[str, Box]]


@dataclass(frozen=True)
class Joint:
    """One program of all cores, but for the order of its commands: core by core."""

    program: Program
    packed: Packed
    cores: Sequence[CoreProgram]

    @cached_property
    def jobs(self) -> Sequence[Job]:
        """The commands with what each of them has to follow, for who orders them anew."""
        return _jobs(self.cores)

    def in_order(self, schedule: Schedule) -> tuple[Program, Packed]:
        """The program with its commands in the order of `schedule`, and the bytes of its constants."""
        commands = tuple([self.program.commands[number] for number in schedule.numbers])
        return msgspec.structs.replace(self.program, commands=commands), self.packed


def join(network: Network, cores: Sequence[CoreProgram], processor: Processor) -> Joint:
    """All the cores' commands, where these lie in the memory of all. Raises `CannotCut`, `DoesNotFit`."""
    places, end_bytes = _shared_places(network, cores)
    bindings = {name: Binding(name, region, network.tensors[name].format) for name, region in places.items()}
    used_bytes = {"dram": 0}
    constants: list[Binding] = []
    packed: dict[str, NDArray[np.uint8]] = {}
    pools: dict[bytes, int] = {}
    commands: list[Command] = []
    for each in cores:
        pool = _pool_key(each)
        start_bytes = pools.get(pool)
        dram = CoreDram(each.program, each.shared, places, end_bytes, start_bytes)
        commands += [on_core(dram.moved(command), each.core) for command in each.program.commands]
        if start_bytes is None:
            pools[pool] = dram.constants_start
            for binding in each.program.constants:
                name = f"{binding.name} of core {each.core}" if each.core else binding.name
                constants.append(Binding(name, dram.at(binding.region), binding.format))
                if binding.name in each.packed:
                    packed[name] = each.packed[binding.name]
        end_bytes = dram.end_bytes
        used_bytes[sram_name(each.core)] = each.program.used_bytes["sram"]
    used_bytes["dram"] = end_bytes
    if end_bytes > processor.dram.size_bytes:
        raise DoesNotFit(Violation("dram_bytes", network.name, end_bytes, processor.dram.size_bytes, "bytes"))
    program = network.optimised_program(processor, bindings, constants, commands, used_bytes)
    return Joint(program, packed, cores)


def _shared_places(network: Network, cores: Sequence[CoreProgram]) -> tuple[dict[str, Region], int]:
    names = dict.fromkeys((*network.inputs, *network.outputs))
    for each in cores:
        names.update(dict.fromkeys(name for name, _ in each.shared.values()))
    places: dict[str, Region] = {}
    end_bytes = 0
    for name in names:
        places[name] = place(network.tensors[name], "dram", end_bytes)
        end_bytes = aligned(end_bytes + tensor_bytes(network.tensors[name]))
    return places, end_bytes


def _pool_key(each: CoreProgram) -> bytes:
    """The same for cores that load the very same constants in the same layout: they share them."""
    constants = each.program.constants
    first = min((binding.region.offset_bytes for binding in constants), default=0)
    key = hashlib.blake2b()
    for binding in constants:
        key.update(f"{binding.region.offset_bytes - first} {binding.region.payload_bytes} ".encode())
        stored = each.packed.get(binding.name)
        # What is unknown (a network on the meta device) may be anything.
        key.update(f"core {each.core}".encode() if stored is None else np.ascontiguousarray(stored).data)
    return key.digest()


def _jobs(cores: Sequence[CoreProgram]) -> list[Job]:
    """The commands of all cores, core by core, with what each has to follow."""
    starts = [0]
    for each in cores:
        starts.append(starts[-1] + len(each.program.commands))
    jobs: list[Job] = []
    known: dict[int, list[tuple[int, ...]]] = {}
    for start, each in zip(starts, cores, strict=False):
        # In the core's own program what it shares is a tensor of its own for each piece: a load that was put before the
        # store of another piece wants no older value that the store would have to spare.
        if id(each.program) not in known:
            known[id(each.program)] = dependences(each.program.commands)
        for index, (command, found) in enumerate(zip(each.program.commands, known[id(each.program)], strict=True)):
            jobs.append(Job(command, queue_name(command.engine, each.core), index, {start + other for other in found}))
    stores: dict[str, list[tuple[int, Box]]] = {}
    for start, each in zip(starts, cores, strict=False):
        for name, index in _touches(each, writes=True):
            shared, box = each.shared[name]
            stores.setdefault(shared, []).append((start + index, box))
    for start, each in zip(starts, cores, strict=False):
        for name, index in _touches(each, writes=False):
            shared, box = each.shared[name]
            jobs[start + index].after.update(stored for stored, part in stores.get(shared, ()) if meet(box, part))
    return jobs


def _touches(each: CoreProgram, writes: bool) -> list[tuple[str, int]]:
    """(name, index of the command) for every access to a shared output (or input)."""
    program = each.program
    bound = program.outputs if writes else program.inputs
    spans = sorted((binding.region.offset_bytes, binding.region.end_bytes, binding.name) for binding in bound)
    starts = np.array([start for start, _, _ in spans], np.int64)
    found: list[tuple[str, int]] = []
    for index, command in enumerate(program.commands):
        for region in command.writes if writes else command.reads:
            if region.memory != "dram":
                continue
            row = int(np.searchsorted(starts, region.offset_bytes, side="right")) - 1
            if row >= 0 and region.offset_bytes < spans[row][1]:
                found.append((spans[row][2], index))
    return found
