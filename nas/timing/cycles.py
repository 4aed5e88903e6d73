"""One command -> cycles, on a processor where nothing else runs. One operation, one formula.

Every command first takes `issue_cycles`. A compute command can't be faster than the sram's ports bring and take its
bytes. Rates in seconds become whole cycles here, by integer arithmetic, so that a transfer that is shared and one that is
alone add up to the same bytes.
"""

import math

from nas.core.errors import ContractError
from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Eltwise, Host, Load, Matmul, Store, Tail
from nas.timing.matrix import array_cycles, passes
from nas.timing.traffic import Work, command_traffic, command_work, moved_bytes

_MOVES = (Load, Store)
_TAILED = (Conv, Matmul, Eltwise)


def command_cycles(command: Command, processor: Processor) -> int:
    """The cycles from the issue of `command` to its end."""
    attributes = command.attributes
    if isinstance(attributes, _MOVES):
        latency_cycles, moved = dma_parts(command, processor)
        return latency_cycles + transfer_cycles(moved, processor)
    if type(attributes) is Host:
        return host_cycles(command_work(command), processor)
    return compute_cycles(command, processor, command_work(command), command_traffic(command).sram_bytes)


def compute_cycles(command: Command, processor: Processor, work: Work, sram_bytes: int) -> int:
    """The cycles of a command of the matrix or vector engine, whose work and traffic are known already."""
    attributes = command.attributes
    if command.engine == "matrix":
        busy_cycles = _matrix_cycles(command, processor, work)
    elif command.engine == "vector":
        # A lane does one element, or one multiply-add, a cycle.
        busy_cycles = -(-work.operations // processor.vector.lanes)
    else:
        raise ContractError(f"{command.op} of {command.layer} is on engine {command.engine!r}, which does not compute")
    if isinstance(attributes, _TAILED):
        busy_cycles += tail_fill_cycles(attributes.tail)
    sram = processor.sram
    return processor.issue_cycles + max(busy_cycles, -(-sram_bytes // (sram.banks * sram.port_bytes)))


def host_cycles(work: Work, processor: Processor) -> int:
    """The cycles of a call of the host processor: the call itself, then an operation for each element."""
    host = processor.host
    seconds = host.call_s + work.operations / host.operations_per_s
    return processor.issue_cycles + seconds_to_cycles(seconds, processor)


def dma_parts(command: Command, processor: Processor) -> tuple[int, int]:
    """(cycles before the first byte moves, bytes that move) of a load or a store. Only the bytes use bandwidth."""
    region = command.reads[0] if type(command.attributes) is Load else command.writes[0]
    return dma_latency_cycles(processor), moved_bytes(region)


def dma_latency_cycles(processor: Processor) -> int:
    """The cycles before the first byte of a load or a store moves."""
    return processor.issue_cycles + seconds_to_cycles(processor.dram.latency_s, processor)


def transfer_cycles(size_bytes: int, processor: Processor) -> int:
    """The cycles that `size_bytes` need at the full bandwidth of the dram."""
    return -(-size_bytes * clock(processor) // bandwidth(processor))


def clock(processor: Processor) -> int:
    """Cycles a second, whole."""
    return max(1, round(processor.clock_hz))


def bandwidth(processor: Processor) -> int:
    """Bytes of dram a second, whole."""
    return max(1, round(processor.dram.bandwidth_bytes_per_s))


def seconds_to_cycles(seconds: float, processor: Processor) -> int:
    """The whole cycles that cover `seconds`; a millionth of a cycle is the noise of floating point, not time."""
    return math.ceil(seconds * processor.clock_hz - 1e-6)


def tail_fill_cycles(tail: Tail) -> int:
    """The tail works behind the engine at its pace: it costs one cycle for each step in use, to fill its pipeline."""
    return (
        tail.table
        + (tail.multiply is not None)
        + (tail.add is not None)
        + (tail.activation != "none")
        + (tail.output.kind == "code")
        + (tail.pool is not None)
    )


def _matrix_cycles(command: Command, processor: Processor, work: Work) -> int:
    attributes, matrix = command.attributes, processor.matrix
    if type(attributes) is Conv:
        out_channels, depth, kernel_rows, kernel_columns = command.reads[1].shape
        pixels, terms = work.outputs // out_channels, depth * kernel_rows * kernel_columns
        channels, groups = out_channels // attributes.groups, attributes.groups
    elif type(attributes) is Matmul:
        pixels, terms = command.reads[0].shape
        channels, groups = command.reads[1].shape[0], 1
    else:
        raise ContractError(f"{command.op} of {command.layer} is not for the matrix engine")
    if attributes.dataflow == "lanes":
        raise ContractError(
            f"{command.op} of {command.layer} runs on the matrix engine with the vector engine's dataflow"
        )
    widths = passes(attributes.weight, attributes.input, matrix)
    return array_cycles(pixels, terms, channels, groups, attributes.dataflow, matrix, widths)
