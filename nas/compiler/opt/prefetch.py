"""Prefetch: loads move up in the order, as far as the sram has room to hold what they bring until it is used.

The load queue runs ahead of the other engines only as far as addresses allow; an early load has an address that nothing
else uses between its new place and its use, so the transfer hides behind work.
"""

import numpy as np

from nas.compiler.regions import aligned
from nas.ir.command import Command, Load


def lifetimes(commands: list[Command], buffer_bytes: dict[str, int]) -> dict[str, tuple[int, int]]:
    """For each buffer the first and the last command that touches it."""
    spans: dict[str, tuple[int, int]] = {}
    for index, command in enumerate(commands):
        for region in (*command.reads, *command.writes):
            name = region.memory
            if name in buffer_bytes:
                first, _ = spans.get(name, (index, index))
                spans[name] = (first, index)
    return spans


def prefetch(commands: list[Command], buffer_bytes: dict[str, int], capacity_bytes: int, window: int) -> list[Command]:
    """The same commands with loads of never-written dram moved up to `window` commands earlier.

    Loads keep their order among themselves, so that the earliest need is still served first.
    """
    spans = lifetimes(commands, buffer_bytes)
    live = np.zeros(len(commands) + 1, np.int64)
    for name, (first, last) in spans.items():
        live[first : last + 1] += aligned(buffer_bytes[name])
    stored = [
        (region.offset_bytes, region.end_bytes)
        for command in commands
        for region in command.writes
        if region.memory == "dram"
    ]
    keys = [(index, 1, index) for index in range(len(commands))]
    earliest = 0
    for index, command in enumerate(commands):
        name = command.writes[0].memory
        if not isinstance(command.attributes, Load) or spans[name][0] != index or _is_stored(command, stored):
            continue
        size_bytes = aligned(buffer_bytes[name])
        place = index
        while place > max(earliest, index - window) and live[place - 1] + size_bytes <= capacity_bytes:
            place -= 1
        live[place:index] += size_bytes
        earliest = place
        keys[index] = (place, 0, index)
    return [commands[key[2]] for key in sorted(keys)]


def _is_stored(command: Command, stored: list[tuple[int, int]]) -> bool:
    """Whether the dram that a load reads is written by the program itself."""
    source = command.reads[0]
    return any(start < source.end_bytes and source.offset_bytes < stop for start, stop in stored)
