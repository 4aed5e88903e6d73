"""Which buffers live on chip: all, if they fit; otherwise those go to dram that free most where the sram overflows.

Time is counted in operators here. At each operator the live buffers on chip and the operator's smallest tiles must fit.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.compiler.memo import Memo
from nas.compiler.opt.layout.operands import Layout
from nas.compiler.opt.plan.tile import comfortable_bytes
from nas.compiler.regions import aligned
from nas.core.errors import DoesNotFit, Violation
from nas.hw.spec import Processor


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


class Residences:
    """Which buffers of a layout live on chip, asked for again and again while a plan changes.

    All that is the same for every answer is worked out once: what lives where, and what operators need, with all buffers on chip.
    """

    def __init__(self, layout: Layout, processor: Processor, room_bytes: int, memo: Memo) -> None:
        self._layout, self._room_bytes, self._memo = layout, room_bytes, memo
        self._columns = processor.matrix.columns
        self._alive = alive = layout.alive
        self._number_of = {name: number for number, name in enumerate(alive.sizes)}
        spans = np.array([alive.spans[name] for name in alive.sizes], np.int64).reshape(-1, 2)
        self._firsts, self._lasts = spans[:, 0], spans[:, 1]
        self._live_bytes = np.array(alive.bytes_by_operator(), np.int64)
        self._needs = np.array([self._need(index, alive.sizes.keys()) for index in range(len(alive.touched))], np.int64)

    def _need(self, index: int, on_chip: Set[str]) -> int:
        """What an operator needs beside its own maps on chip: to work well, where that can be had without evicting them."""
        placed, buffers, room_bytes = self._layout.placed[index], self._layout.storage.buffers, self._room_bytes
        if placed is None:
            return 0
        slots = placed.on_chip(on_chip)
        own = {placed.homes[slot].memory for slot in slots}
        rooms = (room_bytes - sum(aligned(buffers[name].size_bytes) for name in own), room_bytes)
        return self._memo.of(comfortable_bytes, placed.operands, slots, self._columns, rooms)

    def decide(self, evicted: frozenset[str] = frozenset(), linking: frozenset[str] = frozenset()) -> Residency:
        """evicted: buffers that are not to live on chip; linking: those between two operators alone, which can do them in stripes.

        Raises `DoesNotFit` where the smallest tiles of an operator alone are over the room."""
        alive, buffers = self._alive, self._layout.storage.buffers
        on_chip, passing = set(alive.sizes), set[str]()
        is_on_chip = np.ones(len(on_chip), bool)
        live_bytes, needs = self._live_bytes.copy(), self._needs.copy()

        def leave(names: Set[str]) -> None:
            on_chip.difference_update(names)
            for name in names:
                first, last = alive.spans[name]
                live_bytes[first : last + 1] -= alive.sizes[name]
                is_on_chip[self._number_of[name]] = False
            for index in {index for name in names for index in alive.touching[name]}:
                needs[index] = self._need(index, on_chip)

        leave(evicted & on_chip)
        names = list(alive.sizes)
        while needs.size:
            wanted = live_bytes + needs
            index = int(wanted.argmax())
            if wanted[index] <= self._room_bytes:
                break
            lives_here = is_on_chip & (self._firsts <= index) & (index <= self._lasts)
            here = [names[number] for number in np.flatnonzero(lives_here).tolist()]
            if not here:
                layer, advice = self._layout.network.operators[index].layer, "more SRAM, fewer channels or fewer bits"
                raise DoesNotFit(Violation("sram_bytes", layer, int(needs[index]), self._room_bytes, "bytes", advice))
            touched = alive.touched[index]
            # A buffer that the operator doesn't touch frees all its bytes here; among equals the larger goes.
            victim = max(here, key=lambda name: (name not in touched, buffers[name].size_bytes, name))
            links = [name for name in here if name in linking and name in touched]
            if links and victim not in links:
                # What passes in stripes costs no traffic.
                victim = max(links, key=lambda name: (buffers[name].size_bytes, name))
                passing.add(victim)
            leave({victim})
        free_bytes = tuple((self._room_bytes - live_bytes).tolist())
        return Residency(frozenset(on_chip), free_bytes, alive.spans, self._room_bytes, frozenset(passing))
