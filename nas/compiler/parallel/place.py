"""Place: the commands of a sequential program, each into the queue of its engine on its core, in their order."""

from nas.ir.command import Command
from nas.ir.cores import MOST_CORES, SHARED_ENGINES, core_of_memory, queue_name
from nas.ir.program import Program

# The order of the queues of a core in the file, along the way of the data.
ENGINES = ("dma_in", "matrix", "vector", "dma_out", "host")


def place(program: Program) -> dict[str, list[int]]:
    """The indices of the commands of each queue; engines without work have none."""
    queues: dict[str, list[int]] = {name: [] for name in _queues()}
    for index, command in enumerate(program.commands):
        queues[queue_name(command.engine, core_of(command))].append(index)
    return {name: queue for name, queue in queues.items() if queue}


def core_of(command: Command) -> int:
    """The core whose sram a command touches; 0 for what touches none, which is the host's."""
    for region in (*command.writes, *command.reads):
        core = core_of_memory(region.memory)
        if core is not None:
            return core
    return 0


def _queues() -> list[str]:
    names = [queue_name(engine, 0) for engine in ENGINES]
    for core in range(1, MOST_CORES):
        names += [queue_name(engine, core) for engine in ENGINES if engine not in SHARED_ENGINES]
    return names
