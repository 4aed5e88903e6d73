"""A seed -> the weather over the dram: latencies that vary, bandwidth that others take, refreshes. The clouds.

    latency      of each load and store: the processor's, times exp(sigma * z) with z standard normal, and never less than
                 the processor's (which is the best case of a row that is open)
    stolen       other masters take the bus for bursts: time is cut into slots of `slot_s`, and in each slot a share of
                 the bandwidth is gone, drawn from an exponential distribution of mean `stolen_share`, at most `_MOST_STOLEN`
    refresh      every `refresh_every_s` nothing moves for `refresh_s` (tREFI and tRFC of JEDEC's data sheets)

The numbers of each command depend on the seed, its queue and its place in it alone, those of each slot on the seed and
the slot: two programs, or two processors, see the same sky. The whole is off (None) unless asked for.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.core.errors import InputError
from nas.core.seeding import stream
from nas.hw.spec import Processor
from nas.timing.cycles import bandwidth, seconds_to_cycles

_BLOCK = 1024
_MOST_STOLEN = 0.9
_MOST_SIGMA = 10.0  # far beyond any memory, and no latency overflows
_LONGEST_S = 1.0


class Clouds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strong the jitter is; every part can be 0. The defaults are those of a shared LPDDR4 channel under some load."""

    seed: int = 0
    latency_sigma: float = 0.4
    stolen_share: float = 0.15
    slot_s: float = 2e-6
    refresh_every_s: float = 3.9e-6
    refresh_s: float = 0.18e-6


class Sky:
    """The clouds over one run: draws numbers as they are needed, a block at a time."""

    def __init__(self, clouds: Clouds, processor: Processor) -> None:
        _check(clouds)
        self._clouds = clouds
        self._full = bandwidth(processor)
        self._nominal_cycles = seconds_to_cycles(processor.dram.latency_s, processor)
        self._slot_cycles = max(1, round(clouds.slot_s * processor.clock_hz))
        self._every_cycles = max(1, round(clouds.refresh_every_s * processor.clock_hz))
        self._refresh_cycles = min(self._every_cycles - 1, round(clouds.refresh_s * processor.clock_hz))
        self._blocks: dict[tuple[str, int], NDArray[np.float64]] = {}

    def extra_latency_cycles(self, queue: str, position: int) -> int:
        """What the latency of the step at `position` of `queue` is over the processor's."""
        z = self._normal(f"latency/{queue}", position)
        return max(0, round(self._nominal_cycles * math.expm1(self._clouds.latency_sigma * z)))

    def work(self, first: int, last: int) -> int:
        """The work (see `nas.sim.dram`) that the dram can do in the cycles [first, last)."""
        total, cycle = 0, first
        while cycle < last:
            stop, rate = self._piece(cycle)
            total += (min(stop, last) - cycle) * rate
            cycle = stop
        return total

    def cycle_of(self, first: int, work: int) -> int:
        """The first cycle by whose begin `work` is done if it starts in cycle `first`."""
        cycle = first
        while work > 0:
            stop, rate = self._piece(cycle)
            if rate and rate * (stop - cycle) >= work:
                return cycle - (-work // rate)
            work -= rate * (stop - cycle)
            cycle = stop
        return cycle

    def _piece(self, cycle: int) -> tuple[int, int]:
        """(the end of the stretch of constant weather that `cycle` lies in, the work that each of its cycles does)."""
        slot, since = cycle // self._slot_cycles, cycle % self._every_cycles
        slot_end = (slot + 1) * self._slot_cycles
        # A refresh ends each interval, so that a program's first bytes are not all held up by one.
        if since >= self._every_cycles - self._refresh_cycles:
            return min(slot_end, cycle - since + self._every_cycles), 0
        uniform = 0.5 * math.erfc(-self._normal("stolen", slot) / math.sqrt(2))
        stolen = min(_MOST_STOLEN, -self._clouds.stolen_share * math.log1p(-min(uniform, 1 - 1e-12)))
        end = cycle - since + self._every_cycles - self._refresh_cycles
        return min(slot_end, end), max(1, round(self._full * (1 - stolen)))

    def _normal(self, name: str, index: int) -> float:
        block, place = divmod(index, _BLOCK)
        if (name, block) not in self._blocks:
            generator = stream(self._clouds.seed, "clouds", name, block)
            self._blocks[name, block] = generator.standard_normal(_BLOCK)
        return float(self._blocks[name, block][place])


def _check(clouds: Clouds) -> None:
    """Raise InputError for the first field that no sky can have. A comparison with NaN is false."""
    every_s = clouds.refresh_every_s
    for field, fits, expected in (
        ("latency_sigma", 0 <= clouds.latency_sigma <= _MOST_SIGMA, f"0 to {_MOST_SIGMA:g}"),
        ("stolen_share", 0 <= clouds.stolen_share < 1, "0 or more, below 1"),
        ("slot_s", 0 < clouds.slot_s <= _LONGEST_S, f"above 0, at most {_LONGEST_S:g}"),
        ("refresh_every_s", 0 < every_s <= _LONGEST_S, f"above 0, at most {_LONGEST_S:g}"),
        ("refresh_s", 0 <= clouds.refresh_s < every_s, f"0 or more, below {every_s:g}"),
    ):
        if not fits:
            raise InputError("clouds", field, expected, getattr(clouds, field))
