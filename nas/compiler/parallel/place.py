"""Place: the commands of a sequential program, each into the queue of its engine, in their order."""

from nas.ir.program import Program

# The order of the queues in the file, along the way of the data.
QUEUES = ("dma_in", "matrix", "vector", "dma_out", "host")


def place(program: Program) -> dict[str, list[int]]:
    """The indices of the commands of each engine; engines without work have no queue."""
    queues: dict[str, list[int]] = {name: [] for name in QUEUES}
    for index, command in enumerate(program.commands):
        queues.setdefault(command.engine, []).append(index)
    return {name: queue for name, queue in queues.items() if queue}
