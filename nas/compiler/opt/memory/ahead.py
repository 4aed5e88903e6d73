"""Ahead: loads as early as the bytes of the chip allow, and addresses for all buffers anew.

`prefetch` moves loads to where a gap between known addresses lasts, so that much room stays idle in small pieces. Where the engines
wait for loads in the end, though the dram was idle before, all loads in turn are put where their bytes have room beside all
others that live then, up to a part of the chip, and everything is packed again. Some parts are tried, the smallest first, until one
does not pack: fuller is mostly quicker, but who gets bytes that were in use just now waits for that use.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from nas.compiler.memo import Memo
from nas.compiler.opt.memory.alloc import live_over_time, searched
from nas.compiler.opt.memory.arrange import Arranged
from nas.compiler.opt.memory.colour import timed
from nas.compiler.opt.memory.prefetch import Stored, is_movable, lifetimes, moved_up
from nas.compiler.regions import aligned
from nas.hw.spec import Processor
from nas.sim.trace import Trace

_FILLS = (0.83, 0.87, 0.91, 0.95)  # parts of the sram
_MOST_BUFFERS = 150  # packing more takes longer than all the rest of planning
_NODES, _DIVE = 1, 1.5  # one round of short dives, see `exact.pack`: what packs mostly does at once
_WORTH = 50  # it is not worth trying for so small a part of the time


def loaded_ahead(found: Arranged, processor: Processor, memo: Memo) -> Arranged:
    """The same commands with earlier loads, if that is quicker; `found` itself otherwise."""
    if len(found.buffer_bytes) > _MOST_BUFFERS:
        return found
    trace = timed(found.commands, found.allocation, processor, memo).trace
    if _lost_cycles(trace) * _WORTH < trace.cycles:
        return found
    best, cycles = found, trace.cycles
    for fill in _FILLS:
        other = _packed(found, int(fill * processor.sram.size_bytes), processor.sram.size_bytes)
        if other is None:
            break
        taken = timed(other.commands, other.allocation, processor, memo).trace.cycles
        if taken < cycles:
            best, cycles = other, taken
    return best


def _lost_cycles(trace: Trace) -> int:
    """The cycles in which no engine computes, or those in which nothing is loaded if these are fewer: so many at most can be saved."""
    computing = _union(
        (span.start_cycles, span.end_cycles) for span in trace.spans if not span.engine.startswith("dma")
    )
    loading = _union((span.start_cycles, span.end_cycles) for span in trace.spans if span.engine.startswith("dma"))
    return trace.cycles - max(computing, loading)


def _union(spans: Iterable[tuple[int, int]]) -> int:
    total = end = 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def _packed(found: Arranged, limit_bytes: int, capacity_bytes: int) -> Arranged | None:
    """Loads as early as no more than `limit_bytes` live at any time, in their order; None where no addresses are found for that."""
    commands = found.plain
    spans = lifetimes(commands, found.buffer_bytes)
    live = live_over_time(spans, found.buffer_bytes)
    stored = Stored(commands)
    starts: dict[int, int] = {}
    earliest = 0
    for index, command in enumerate(commands):
        if not is_movable(command, index, spans):
            continue
        name = command.writes[0].memory
        size_bytes = aligned(found.buffer_bytes[name])
        stored_before = stored.before(index, 0)
        low = earliest if stored_before is None else stored_before + 1
        full = np.flatnonzero(live[low:index] + size_bytes > limit_bytes)
        start = low + int(full[-1]) + 1 if len(full) else min(low, index)
        live[start:index] += size_bytes
        spans[name] = start, spans[name][1]
        starts[index] = start
        if stored_before is None:
            earliest = start
    early = moved_up(commands, starts)
    if early == found.commands:
        return None
    allocation = searched(spans, found.buffer_bytes, capacity_bytes, _NODES, _DIVE)
    return None if allocation is None else replace(found, commands=early, allocation=allocation)
