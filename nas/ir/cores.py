"""The names by which a program tells cores apart: queues (`matrix`, `matrix1`, ...) and memories (`sram`, `sram1`, ...).

Core 0 has the plain names, so that a program of one core mentions no core at all; core k has its number behind them. The
dram and the host are shared and have one name each.
"""

import re
from functools import lru_cache

from nas.ir.command import Command
from nas.ir.tensor import Region

MOST_CORES = 8
SHARED_ENGINES = ("host",)
_SRAM = "sram"
_NUMBERED = re.compile(rf"(.*?)([1-{MOST_CORES - 1}])?", re.DOTALL)


def queue_name(engine: str, core: int) -> str:
    """The name of the queue of `engine` on `core`."""
    return f"{engine}{core}" if core and engine not in SHARED_ENGINES else engine


def sram_name(core: int) -> str:
    """The name of a core's own memory."""
    return f"{_SRAM}{core}" if core else _SRAM


@lru_cache(maxsize=1 << 10)
def engine_of_queue(queue: str) -> tuple[str, int]:
    """(engine, core) of a queue; any other name is taken for an engine of core 0."""
    match = _NUMBERED.fullmatch(queue)
    if match is None or match[2] is None or match[1] in SHARED_ENGINES:
        return queue, 0
    return match[1], int(match[2])


@lru_cache(maxsize=1 << 10)
def core_of_memory(memory: str) -> int | None:
    """The core whose sram `memory` is; None for the dram, and for what is no core's."""
    match = _NUMBERED.fullmatch(memory)
    if match is None or match[1] != _SRAM:
        return None
    return int(match[2] or 0)


def on_core(command: Command, core: int) -> Command:
    """The command of core 0, or of whichever core, as one of `core`."""
    reads, writes = (tuple([_on_core(each, core) for each in part]) for part in (command.reads, command.writes))
    return Command(command.engine, command.layer, reads, writes, command.attributes)


def _on_core(region: Region, core: int) -> Region:
    if core_of_memory(region.memory) is None:
        return region
    return Region(sram_name(core), region.offset_bytes, region.shape, region.strides, region.bits)
