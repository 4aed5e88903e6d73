"""Programs -> numbers: runs the arithmetic of every command on byte memories, without any notion of time.

Inputs and outputs are float32 tensors with the batch first, encoded and decoded by their bindings; constants are raw bytes
as they lie in dram. The parallel form runs in a random order of all that its queues and tokens allow.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import InputError, suggestion
from nas.ir.par_program import ParProgram
from nas.ir.program import Binding, Program
from nas.sim.arithmetic import HostFunction, execute
from nas.sim.formats import encode, numbers
from nas.sim.memory import Memories, allocate, read_raw, write_raw
from nas.sim.tokens import Tokens

Constants = Mapping[str, NDArray[np.uint8]]
Tensors = Mapping[str, NDArray[np.float32]]


def run_values(
    program: Program, constants: Constants, inputs: Tensors, host: HostFunction | None = None
) -> dict[str, NDArray[np.float32]]:
    """The program's outputs by name."""
    memories = _prepare(program, constants, inputs)
    for command in program.commands:
        execute(command, memories, host)
    return _outputs(program.outputs, memories)


def run_values_parallel(
    program: ParProgram,
    constants: Constants,
    inputs: Tensors,
    generator: np.random.Generator,
    host: HostFunction | None = None,
) -> dict[str, NDArray[np.float32]]:
    """The outputs after one legal order of the steps, drawn from `generator`."""
    memories = _prepare(program, constants, inputs)
    tokens = Tokens(program.queues)
    for _ in range(sum(map(len, program.queues.values()))):
        ready = tokens.ready_queues()
        if not ready:
            raise tokens.deadlock()
        step = tokens.take(ready[int(generator.integers(len(ready)))])
        execute(step.command, memories, host)
        tokens.signal(step)
    return _outputs(program.outputs, memories)


def _prepare(program: Program | ParProgram, constants: Constants, inputs: Tensors) -> Memories:
    memories = allocate(program.used_bytes)
    _refuse_unknown(program, "constants", program.constants, constants)
    _refuse_unknown(program, "inputs", program.inputs, inputs)
    for binding in program.constants:
        stored = np.asarray(constants[binding.name])
        region = binding.region
        size_bytes = region.end_bytes - region.offset_bytes
        if stored.dtype != np.uint8 or stored.size != size_bytes:
            raise InputError(
                program.name,
                f"constants.{binding.name}",
                f"{size_bytes} raw bytes (uint8)",
                f"{stored.size} elements of {stored.dtype}",
            )
        if region.end_bytes > memories[region.memory].size:
            raise InputError(program.name, f"constants.{binding.name}", "a region in use", region)
        memories[region.memory][region.offset_bytes : region.end_bytes] = stored.reshape(-1)
    for binding in program.inputs:
        tensor = np.asarray(inputs[binding.name], np.float32)
        if tensor.shape != binding.region.shape:
            raise InputError(program.name, f"inputs.{binding.name}", f"shape {binding.region.shape}", tensor.shape)
        write_raw(memories, binding.region, encode(tensor, binding.format))
    return memories


def _refuse_unknown(
    program: Program | ParProgram, what: str, bindings: Sequence[Binding], given: Mapping[str, object]
) -> None:
    names = [binding.name for binding in bindings]
    for name in names:
        if name not in given:
            raise InputError(program.name, f"{what}.{name}", "a tensor of this name", "none", suggestion(name, given))
    if what == "constants":
        return
    for name in given:
        if name not in names:
            raise InputError(
                program.name, f"{what}.{name}", "a name of the program", "another", suggestion(name, names)
            )


def _outputs(bindings: Sequence[Binding], memories: Memories) -> dict[str, NDArray[np.float32]]:
    return {binding.name: numbers(read_raw(memories, binding.region), binding.format).copy() for binding in bindings}
