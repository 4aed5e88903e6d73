"""The bandwidth of the dram: stores share it equally, loads get what stores leave (processor sharing, a fluid model).

Why stores go first: compiled programs prefetch, so that a load comes as early as there is room for it and few wait for it,
while a store is what makes room, and what it writes is often read again. A prefetch that takes bandwidth from such a store
lets a *better* processor, whose loads are ready sooner, be slower in all. No discipline that never lets the bus idle is free
of such anomalies for every program (R. Graham, "Bounds on multiprocessing timing anomalies", 1969); measured on 886 random
networks with little sram, each on 11 better processors (9,746 cases), these were slower:

    stores first    4 cases, by at most 0.75 %      mean latency 1
    equal shares   11 cases, by at most 1.9 %                    1.003
    loads first    10 cases, by at most 7.6 %                    1.003

tests/property/test_trends.py holds what does hold.

Integer arithmetic throughout: a byte is worth `clock` units of work and a cycle at full bandwidth serves `bandwidth` of
them, so that no rounding ever loses or makes a byte. A transfer ends with the first whole cycle in which all its bytes
have been served; what is left of that cycle serves the others.
"""

from nas.hw.spec import Processor
from nas.sim.clouds import Sky
from nas.timing.cycles import bandwidth, clock

_Work = dict[int, int]


class SharedDram:
    """The transfers under way, each with the work that is left of it; loads and stores apart."""

    def __init__(self, processor: Processor, sky: Sky | None = None) -> None:
        self._byte_work = clock(processor)
        self._cycle_work = bandwidth(processor)
        self._sky = sky
        self._loads: _Work = {}
        self._stores: _Work = {}
        self._since = 0

    def begin(self, key: int, size_bytes: int, is_store: bool, now: int) -> None:
        """A transfer starts to use bandwidth."""
        self._serve(now)
        (self._stores if is_store else self._loads)[key] = size_bytes * self._byte_work

    def end(self, key: int, now: int) -> None:
        """A transfer is over."""
        self._serve(now)
        del (self._loads if key in self._loads else self._stores)[key]

    def ends(self) -> list[tuple[int, int]]:
        """(cycle, key): when each transfer that is served now ends if none begins before. The others are not among them."""
        ends: list[tuple[int, int]] = []
        for group in (self._stores, self._loads):
            if not group:
                continue
            ends += [(self._since, key) for key, left in group.items() if not left]
            served = {key: left for key, left in group.items() if left}
            if served:
                return ends + [(self._done(left * len(served)), key) for key, left in served.items()]
        return ends

    def _done(self, work: int) -> int:
        """The cycle by which `work` is done from now on."""
        if self._sky is not None:
            return self._sky.cycle_of(self._since, work)
        return self._since - (-work // self._cycle_work)

    def _serve(self, now: int) -> None:
        sky = self._sky
        work = (now - self._since) * self._cycle_work if sky is None else sky.work(self._since, now)
        self._since = now
        for group in (self._stores, self._loads):
            work = _share(group, work)


def _share(group: _Work, work: int) -> int:
    """Spend `work` on the transfers of a group, equally as long as they last; what is left of it."""
    if not work or not group:
        return work
    served = sorted((left, key) for key, left in group.items() if left)
    for done, (left, key) in enumerate(served):
        # The shortest first: it takes its share or all that it still needs, and the rest is shared by the others.
        part = min(left, -(-work // (len(served) - done)))
        group[key] = left - part
        work -= part
    return work
