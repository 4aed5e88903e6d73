"""Which buffers live on chip: all, if they fit; otherwise those go to dram that free most where the sram overflows.

Time is counted in operators here. At each operator the live buffers on chip and the operator's smallest tiles must fit.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.operands import Layout, Placed
from nas.compiler.opt.storage import Storage
from nas.compiler.opt.tile import comfortable_bytes
from nas.compiler.regions import aligned
from nas.core.errors import DoesNotFit, Violation
from nas.hw.spec import Processor
from nas.ir.program import Concat, View


@dataclass(frozen=True)
class Residency:
    """on_chip: the buffers in sram; free_bytes: what is left at each operator for tiles and weights.

    spans: the first and the last operator that touch each buffer; room_bytes: of the whole chip; passing: the buffers that
    are not on chip so that others can be, and that are to pass through it in stripes.
    """

    on_chip: frozenset[str]
    free_bytes: tuple[int, ...]
    spans: dict[str, tuple[int, int]]
    room_bytes: int
    passing: frozenset[str] = frozenset()

    def alive(self, first: int, last: int) -> list[str]:
        """The buffers on chip that live at some time from operator `first` to `last`."""
        names, firsts, lasts = self._lives
        return [names[number] for number in np.flatnonzero((firsts <= last) & (first <= lasts)).tolist()]

    @cached_property
    def _lives(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
        """The buffers on chip by name, with the first and the last operator of each."""
        names = sorted(self.on_chip)
        lives = np.array([self.spans[name] for name in names], np.int64).reshape(-1, 2)
        return names, lives[:, 0], lives[:, 1]


def decide_residency(
    layout: Layout,
    processor: Processor,
    room_bytes: int,
    memo: Memo,
    evicted: frozenset[str] = frozenset(),
    linking: frozenset[str] = frozenset(),
) -> Residency:
    """evicted: buffers that are not to live on chip; linking: those between two operators alone, which can do them in stripes.

    Raises `DoesNotFit` where the smallest tiles of an operator alone are over `room_bytes`."""
    network, storage = layout.network, layout.storage
    touched = touched_buffers(network, storage)
    spans = spans_of(touched)
    on_chip = {
        name for name, buffer in storage.buffers.items() if not buffer.in_dram and name in spans and name not in evicted
    }
    count, columns = len(network.operators), processor.matrix.columns
    alive: list[set[str]] = [set() for _ in range(count)]
    live_bytes = np.zeros(count, np.int64)
    for name in on_chip:
        first, last = spans[name]
        live_bytes[first : last + 1] += aligned(storage.buffers[name].size_bytes)
        for index in range(first, last + 1):
            alive[index].add(name)
    touching: dict[str, list[int]] = {}
    for index, names in enumerate(touched):
        for name in names:
            touching.setdefault(name, []).append(index)

    def need(index: int) -> int:
        return _need(layout.placed[index], on_chip, columns, storage, room_bytes, memo)

    needs = np.array([need(index) for index in range(count)], np.int64)
    passing: set[str] = set()
    while True:
        wanted = live_bytes + needs
        index = int(wanted.argmax()) if count else 0
        if not count or wanted[index] <= room_bytes:
            free_bytes = tuple((room_bytes - live_bytes).tolist())
            return Residency(frozenset(on_chip), free_bytes, spans, room_bytes, frozenset(passing))
        here = alive[index]
        if not here:
            layer, advice = network.operators[index].layer, "more SRAM, fewer channels or fewer bits"
            raise DoesNotFit(Violation("sram_bytes", layer, int(needs[index]), room_bytes, "bytes", advice))
        # A buffer that the operator doesn't touch frees all its bytes here; among equals the larger goes.
        victim = max(here, key=lambda name: (name not in touched[index], storage.buffers[name].size_bytes, name))
        links = [name for name in here if name in linking and name in touched[index]]
        if links and victim not in links:
            # What passes in stripes costs no traffic.
            victim = max(links, key=lambda name: (storage.buffers[name].size_bytes, name))
            passing.add(victim)
        on_chip.discard(victim)
        first, last = spans[victim]
        live_bytes[first : last + 1] -= aligned(storage.buffers[victim].size_bytes)
        for index in range(first, last + 1):
            alive[index].discard(victim)
        for index in touching[victim]:
            needs[index] = need(index)


def _need(placed: Placed | None, on_chip: Set[str], columns: int, storage: Storage, room_bytes: int, memo: Memo) -> int:
    """What an operator needs beside its own maps on chip: to work well, where that can be had without evicting them."""
    if placed is None:
        return 0
    slots = placed.on_chip(on_chip)
    own = {placed.homes[slot].memory for slot in slots}
    own_bytes = sum(aligned(storage.buffers[name].size_bytes) for name in own)
    return memo.of(comfortable_bytes, placed.operands, slots, columns, (room_bytes - own_bytes, room_bytes))


def spans_of(touched: list[set[str]]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for index, names in enumerate(touched):
        for name in names:
            spans[name] = (spans.get(name, (index, index))[0], index)
    return spans


def touched_buffers(network: Network, storage: Storage) -> list[set[str]]:
    """The buffers that each operator reads or writes; a view or concat touches only what it has to move."""
    touched = []
    for index, operator in enumerate(network.operators):
        if isinstance(operator.function, View | Concat):
            moves = storage.moves.get(index, [])
            touched.append({region.memory for move in moves for region in move})
        else:
            names = (*operator.inputs, *operator.outputs)
            touched.append({storage.regions[name].memory for name in names if name in storage.regions})
    return touched
