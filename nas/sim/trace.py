"""What a simulator saw: a span for each command, and their totals.

Every total is the sum over the spans, in their order, and nothing else: cycles busy, bytes, multiply-adds, energy.
"""

import msgspec

from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.timing.energy import static_energy_pj
from nas.timing.price import Price


class Span(msgspec.Struct, frozen=True, gc=False):
    """One command on one engine, from start to end (half-open). engine: its queue, which names the core (`matrix1`).

    ready_cycles: when the engine was free for it; from then to the start it waited for `wait_reason` ("" if it did not
    wait): the command whose token came last. energy_pj: without the static part. conflict_cycles: of a command that
    computes, what the ports of its pages cost it beyond its price (`nas.sim.ports`).
    """

    engine: str
    layer: str
    op: str
    start_cycles: int
    end_cycles: int
    ready_cycles: int
    wait_reason: str
    dram_bytes: int
    sram_bytes: int
    macs: int
    energy_pj: float
    conflict_cycles: int = 0

    @property
    def busy_cycles(self) -> int:
        return self.end_cycles - self.start_cycles

    @property
    def transfer_bytes(self) -> int:
        """Those of the `dram_bytes` that use its bandwidth: of a load or a store. The host's are part of its own time."""
        return 0 if self.op == "host" else self.dram_bytes


class Trace(msgspec.Struct, frozen=True):
    """One run of a program. cycles: until the last command has ended; energy_pj: of the spans and of the time."""

    name: str
    processor: str
    clock_hz: float
    cycles: int
    energy_pj: float
    spans: tuple[Span, ...]

    @property
    def latency_s(self) -> float:
        return self.cycles / self.clock_hz

    @property
    def dram_bytes(self) -> int:
        return sum(span.dram_bytes for span in self.spans)

    @property
    def transfer_bytes(self) -> int:
        return sum(span.transfer_bytes for span in self.spans)

    @property
    def sram_bytes(self) -> int:
        return sum(span.sram_bytes for span in self.spans)

    @property
    def macs(self) -> int:
        return sum(span.macs for span in self.spans)

    @property
    def conflict_cycles(self) -> int:
        return sum(span.conflict_cycles for span in self.spans)


def span_of(command: Command, price: Price, engine: str, start_cycles: int, end_cycles: int) -> Span:
    """The span of a command that did not wait and had the dram to itself."""
    return Span(
        engine,
        command.layer,
        command.op,
        start_cycles,
        end_cycles,
        start_cycles,
        "",
        price.dram_bytes,
        price.sram_bytes,
        price.macs,
        price.energy_pj,
        end_cycles - start_cycles - price.cycles,
    )


def trace_of(name: str, processor: Processor, spans: tuple[Span, ...]) -> Trace:
    """The trace of `spans`, with its totals."""
    cycles = max((span.end_cycles for span in spans), default=0)
    energy_pj = sum(span.energy_pj for span in spans) + static_energy_pj(cycles, processor)
    return Trace(name, processor.name, processor.clock_hz, cycles, energy_pj, spans)
