"""A command's regions -> the bytes that it moves through the ports of each page of its sram, and what they cost it alone.

A region's bytes are spread evenly from its first address to its last. All that one command reads and writes in a page goes
through the same ports, so that operands of one page can hold each other up (its own conflict) where the ports of the whole
sram would do. `nas.timing` prices commands without addresses; what addresses cost is told here, and nowhere else.
"""

from functools import lru_cache

from nas.hw.spec import Processor, Sram
from nas.ir.command import Command
from nas.ir.overlap import extent
from nas.ir.tensor import Region
from nas.timing.price import Price


def bytes_by_page(command: Command, sram: Sram) -> list[int]:
    """The bytes that `command` reads and writes in each page of its core's sram; they add up to its traffic."""
    count = sram.page_count
    total = [0] * count
    for region in (*command.reads, *command.writes):
        if region.memory != "dram":
            for page, size_bytes in region_pages(region, sram.size_bytes // count, count):
                total[page] += size_bytes
    return total


def own_cycles(command: Command, price: Price, processor: Processor) -> int:
    """The cycles of `command` where nothing else runs: those of its price, or what the ports of its fullest page need."""
    sram = processor.sram
    port_bytes = sram.page_port_bytes
    # Whatever fits through the ports of one page needs no look at the addresses.
    if price.transfer_bytes or price.sram_bytes <= port_bytes * (price.cycles - processor.issue_cycles):
        return price.cycles
    return max(price.cycles, processor.issue_cycles - (-max(bytes_by_page(command, sram)) // port_bytes))


def region_pages(region: Region, page_bytes: int, count: int) -> tuple[tuple[int, int], ...]:
    """(page, bytes) of each of the `count` pages that `region` lies in."""
    return _region_pages(region.offset_bytes, region.shape, region.strides, region.bits, page_bytes, count)


@lru_cache(maxsize=1 << 14)
def _region_pages(
    offset_bytes: int, shape: tuple[int, ...], strides: tuple[int, ...], bits: int, page_bytes: int, count: int
) -> tuple[tuple[int, int], ...]:
    span_bytes = extent(shape, strides, bits)[0]
    payload_bits = bits
    for size in shape:
        payload_bits *= size
    payload_bytes = -(-payload_bits // 8)
    first = min(offset_bytes // page_bytes, count - 1)
    last = min((offset_bytes + span_bytes - 1) // page_bytes, count - 1)
    parts = []
    before = 0
    for page in range(first, last + 1):
        # Rounded by what lies below the end of a page, so that no byte is lost or made.
        below = payload_bytes
        if page < last:
            below = payload_bytes * ((page + 1) * page_bytes - offset_bytes) // span_bytes
        parts.append((page, below - before))
        before = below
    return tuple(parts)
