"""The ports of one core's sram, shared by all that touch a page at the same time: bank conflicts.

A page's ports move `page_port_bytes` a cycle. Of these, in every cycle and in each page by itself,

    transfers come first, since the dram does not wait. While the bytes of a load or a store flow, it takes what the dram's
              full bandwidth brings (all transfers together no more than that), but the ports' last byte
    commands  of the matrix engine follow, then those of the vector engine: each takes what its pace asks for, if the
              ports have it. Its pace is its bytes in the page over its cycles alone, so that it ends in time unless
              the ports were too few at some time, and then as much later as they need

A command asks from its start on, and ends `issue_cycles` behind its last byte. All is counted in whole cycles and in parts of
a byte, `_PARTS` of them, so that a rate that is rounded up is hardly more than it should be. Most commands ask for so little that nobody can be held up, wherever their operands lie: then no address is looked at.

Why the array goes first: who goes first can make a *better* processor slower, as with the dram (see `nas.sim.dram`). On 59
random networks with narrow ports, each on 10 better processors (590 cases, counted in whole bytes), these were slower:

    matrix first    2 cases, by at most 0.03 %      mean latency 1
    equal shares    3 cases, by at most 0.7 %                    1.000
    older first    25 cases, by at most 8.5 %                    1.006
    vector first   26 cases, by at most 9.6 %                    1.008
"""

from collections.abc import Sequence

from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.sim.pages import bytes_by_page
from nas.timing.cycles import bandwidth, clock
from nas.timing.price import Price

_ENGINES = 2  # that compute in a core
_PARTS = 256
Ends = list[tuple[int, int]]


class _Work:
    """A command that computes. left: parts to come in each page as of the cycle `since`; empty: not looked at yet."""

    def __init__(self, command: Command, price: Price, now: int) -> None:
        self.command, self.price = command, price
        self.start = self.since = now
        self.end = now + price.cycles
        self.left: list[int] = []
        self.paces: list[int] = []


class _Transfer:
    """A load or a store. rates: the parts a cycle that it takes of each page; empty: not looked at yet."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.rates: list[int] = []


class Ports:
    """The commands and transfers of one core that are under way; keys tell them apart.

    What changes them returns (cycle, key) of each computing command whose end is another than was said before.
    """

    def __init__(self, processor: Processor) -> None:
        self._sram, self._issue_cycles = processor.sram, processor.issue_cycles
        self._port_parts = processor.sram.page_port_bytes * _PARTS
        self._transfer_parts = -(-bandwidth(processor) * _PARTS // clock(processor))
        self._light_parts = max(0, self._port_parts - self._transfer_parts) // _ENGINES
        self._works: dict[int, _Work] = {}
        self._transfers: dict[int, _Transfer] = {}
        self._heavy: set[int] = set()  # those that ask for more than their share of some page, if all lay in it
        self._watched = False  # whether the ports of some page may be too few for what is under way
        self._free_parts: list[int] = []

    def begin(self, key: int, command: Command, price: Price, now: int) -> Ends:
        """A command starts to compute; its own end is among those returned."""
        work = _Work(command, price, now)
        if price.sram_bytes * _PARTS > self._light_parts * (price.cycles - self._issue_cycles):
            self._heavy.add(key)
        self._serve(now)
        self._works[key] = work
        changed = self._watch(now)
        return changed if work.end > now + price.cycles else [*changed, (work.end, key)]

    def finish(self, key: int, now: int) -> Ends:
        """A command has ended."""
        self._serve(now)
        del self._works[key]
        self._heavy.discard(key)
        return self._watch(now)

    def flow(self, key: int, command: Command, now: int) -> Ends:
        """The bytes of a transfer begin to flow."""
        self._serve(now)
        self._transfers[key] = _Transfer(command)
        return self._foretold(now) if self._watched else []

    def stop(self, key: int, now: int) -> Ends:
        """The bytes of a transfer have flowed."""
        self._serve(now)
        del self._transfers[key]
        return self._foretold(now) if self._watched else []

    def _watch(self, now: int) -> Ends:
        """Other commands are under way than before."""
        before, self._watched = self._watched, bool(self._heavy) and self._is_tight()
        if self._watched and not before:
            for _, work in self._in_order():
                # Until now nobody was in anybody's way.
                cycles, both = now - work.since, zip(work.left, work.paces, strict=True)
                work.left, work.since = [max(0, left - pace * cycles) for left, pace in both], now
        return self._foretold(now) if before or self._watched else []

    def _is_tight(self) -> bool:
        paces = [work.paces for _, work in self._in_order()]
        return any(sum(page) + self._transfer_parts > self._port_parts for page in zip(*paces, strict=True))

    def _serve(self, now: int) -> None:
        """Let all that are watched have had what the ports brought until now."""
        if not self._watched:
            return
        works = [work for _, work in self._in_order()]
        for page, free in enumerate(self._free_parts):
            users = [work for work in works if work.left[page]]
            if users:
                left, paces = [work.left[page] for work in users], [work.paces[page] for work in users]
                for work, rest in zip(users, share_page(left, paces, free, now - users[0].since)[0], strict=True):
                    work.left[page] = rest
        for work in works:
            work.since = now

    def _foretold(self, now: int) -> Ends:
        """The ends that change if all that is under way now, and nothing else, goes on for ever."""
        self._free_parts = self._left_by_transfers()
        works = dict(self._in_order())
        served: dict[int, int] = {}
        for page, free in enumerate(self._free_parts):
            users = [key for key, work in works.items() if work.left[page]]
            if users:
                left, paces = [works[key].left[page] for key in users], [works[key].paces[page] for key in users]
                for key, cycles in zip(users, share_page(left, paces, free)[1], strict=True):
                    served[key] = max(served.get(key, 0), now + cycles)
        changed = []
        for key, cycle in served.items():
            work = works[key]
            end = max(work.start + work.price.cycles, cycle + self._issue_cycles)
            if end != work.end:
                work.end = end
                changed.append((end, key))
        return changed

    def _in_order(self) -> list[tuple[int, _Work]]:
        """The commands that compute, who goes first first, with what they ask for."""
        for work in self._works.values():
            if not work.left:
                cycles = max(1, work.price.cycles - self._issue_cycles)
                work.left = [size_bytes * _PARTS for size_bytes in bytes_by_page(work.command, self._sram)]
                work.paces = [-(-parts // cycles) for parts in work.left]
        return sorted(self._works.items(), key=lambda item: item[1].command.engine)  # "matrix" is before "vector"

    def _left_by_transfers(self) -> list[int]:
        """The parts a cycle that the transfers leave of each page."""
        taken = [0] * self._sram.page_count
        for transfer in self._transfers.values():
            if not transfer.rates:
                by_page = bytes_by_page(transfer.command, self._sram)
                total = max(1, sum(by_page))
                transfer.rates = [-(-self._transfer_parts * size_bytes // total) for size_bytes in by_page]
            for page, rate in enumerate(transfer.rates):
                taken[page] += rate
        return [max(_PARTS, self._port_parts - min(self._transfer_parts, each)) for each in taken]


def share_page(
    asked: Sequence[int], paces: Sequence[int], free: int, cycles: int | None = None
) -> tuple[list[int], list[int]]:
    """Serve some commands, one before the other, with `free` parts a cycle, for so many cycles (None: until all are done).

    Returns what is left of each, and after how many cycles each was done (0: it was not).
    """
    left, done = list(asked), [0] * len(asked)
    now = 0
    while any(left) and (cycles is None or now < cycles):
        rest, rates, alike = free, [], []
        for remaining, pace in zip(left, paces, strict=True):
            rate = min(pace, rest, remaining)
            rates.append(rate)
            rest -= rate
            if rate:
                # So many cycles go like this one: until the first has less left than it takes in one.
                alike.append(remaining // rate)
        step = min(alike) if cycles is None else min(*alike, cycles - now)
        now += step
        for index, rate in enumerate(rates):
            left[index] -= rate * step
            if rate and not left[index]:
                done[index] = now
    return left, done
