"""One command -> what it moves and how much it computes. Counts only, the same on every processor.

An engine reads each element of its regions once from sram and writes each once: the matrix engine keeps what it uses
again (line buffers before the array, accumulators behind it) to itself. The DMA engines move whole bytes: each contiguous
run of a dram region is rounded up to a byte, in the order of addresses.
"""

import msgspec

from nas.core.errors import ContractError
from nas.ir.command import Command, Conv, Host, Load, Matmul, Pool, Store
from nas.ir.tensor import Region


class Traffic(msgspec.Struct, frozen=True, gc=False):
    """Bytes that one command moves, by memory and direction."""

    dram_read_bytes: int
    dram_write_bytes: int
    sram_read_bytes: int
    sram_write_bytes: int

    @property
    def dram_bytes(self) -> int:
        return self.dram_read_bytes + self.dram_write_bytes

    @property
    def sram_bytes(self) -> int:
        return self.sram_read_bytes + self.sram_write_bytes


class Work(msgspec.Struct, frozen=True, gc=False):
    """What one command computes.

    macs: multiply-adds; outputs: elements that leave the array or the lanes, before a fused pool;
    operations: what an engine of single operations (lanes, host) has to do for all of it.
    """

    macs: int
    outputs: int
    operations: int


def command_traffic(command: Command) -> Traffic:
    """The bytes that `command` moves."""
    attributes = command.attributes
    if type(attributes) is Load:
        return Traffic(moved_bytes(command.reads[0]), 0, 0, command.writes[0].payload_bytes)
    if type(attributes) is Store:
        return Traffic(0, moved_bytes(command.writes[0]), command.reads[0].payload_bytes, 0)
    if type(attributes) is Host:
        return Traffic(sum(map(moved_bytes, command.reads)), sum(map(moved_bytes, command.writes)), 0, 0)
    read_bytes = write_bytes = 0
    for region in command.reads:
        read_bytes += region.payload_bytes
    for region in command.writes:
        write_bytes += region.payload_bytes
    return Traffic(0, 0, read_bytes, write_bytes)


def command_macs(command: Command) -> int:
    """The multiply-adds of `command`."""
    return command_work(command).macs


def command_work(command: Command) -> Work:
    """The amount of computing in `command`."""
    attributes = command.attributes
    if type(attributes) is Conv:
        height, width = command.reads[0].shape[-2:]
        out_channels, depth, kernel_rows, kernel_columns = command.reads[1].shape
        rows, columns = attributes.window.output_size(height, width)
        outputs = out_channels * rows * columns
        macs = outputs * depth * kernel_rows * kernel_columns
        return Work(macs, outputs, macs)
    if type(attributes) is Matmul:
        rows, depth = command.reads[0].shape
        outputs = rows * command.reads[1].shape[0]
        return Work(outputs * depth, outputs, outputs * depth)
    if type(attributes) is Pool:
        outputs = command.writes[0].elements
        kernel_rows, kernel_columns = attributes.window.kernel
        return Work(0, outputs, outputs * kernel_rows * kernel_columns)
    if type(attributes) is Host:
        # The function is unknown; that it looks at every element once is the least one can say of it.
        elements = sum(region.elements for region in command.reads) + sum(region.elements for region in command.writes)
        return Work(0, 0, elements)
    if not command.reads:
        raise ContractError(f"{command.op} of {command.layer} reads nothing")
    elements = command.reads[0].elements
    return Work(0, elements, elements)


def moved_bytes(region: Region) -> int:
    """The bytes that move with `region` when each contiguous run is rounded up to a whole byte."""
    run = runs = 1
    contiguous = True
    for stride, size in sorted(zip(region.strides, region.shape, strict=True)):
        if size == 1:
            continue
        if contiguous and stride == run:
            run *= size
            continue
        runs *= size
        contiguous = contiguous and stride == 0
    return runs * ((run * region.bits + 7) // 8)
