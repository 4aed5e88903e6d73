"""The bandwidth of the dram, shared equally by all transfers that are under way (processor sharing, a fluid model).

Integer arithmetic throughout: a byte is worth clock * share_unit, a cycle at full bandwidth serves bandwidth * share_unit,
and share_unit is divisible by any number of transfers, so that no rounding ever loses or makes a byte. A transfer ends with
the first whole cycle in which all its bytes have been served.
"""

import math

from nas.hw.spec import Processor
from nas.timing.cycles import bandwidth, clock


class SharedDram:
    """The transfers under way, each with the work that is left of it."""

    def __init__(self, processor: Processor, most_transfers: int) -> None:
        share_unit = math.lcm(*range(1, most_transfers + 1))
        self._byte_work = clock(processor) * share_unit
        self._cycle_work = bandwidth(processor) * share_unit
        self._left: dict[int, int] = {}
        self._since = 0

    def begin(self, key: int, size_bytes: int, now: int) -> None:
        """A transfer starts to use bandwidth."""
        self._serve(now)
        self._left[key] = size_bytes * self._byte_work

    def end(self, key: int, now: int) -> None:
        """A transfer is over."""
        self._serve(now)
        del self._left[key]

    def ends(self) -> list[tuple[int, int]]:
        """(cycle, key): when each transfer ends if none begins before."""
        if not self._left:
            return []
        share = self._cycle_work // len(self._left)
        return [(self._since + max(0, -(-left // share)), key) for key, left in self._left.items()]

    def _serve(self, now: int) -> None:
        if self._left and now > self._since:
            served = (now - self._since) * (self._cycle_work // len(self._left))
            for key in self._left:
                self._left[key] -= served
        self._since = now
