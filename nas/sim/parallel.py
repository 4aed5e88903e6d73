"""ParProgram -> Trace: every queue at its own pace, held back by tokens alone; transfers share the dram's bandwidth, stores first.

A step starts when the one before it in its queue has ended and all its tokens have been signalled; a token is signalled
when its step has ended. A load or a store first waits out its latency, which uses no bandwidth, then its bytes flow. The
cores differ in nothing but the names of their queues; the bandwidth is shared by the transfers of all of them, the ports
of an sram's pages by the commands and transfers of its own core (`nas.sim.ports`).
"""

from nas.hw.spec import Processor
from nas.ir.command import Command, Store
from nas.ir.cores import engine_of_queue
from nas.ir.par_program import ParProgram
from nas.sim.clouds import Clouds, Sky
from nas.sim.dram import SharedDram
from nas.sim.engine import Clock
from nas.sim.ports import Ends, Ports
from nas.sim.tokens import deadlock_error
from nas.sim.trace import Span, Trace, trace_of
from nas.timing.cycles import transfer_cycles
from nas.timing.price import Price, command_price

_END, _FLOW = 0, 1  # priorities within a cycle: ends first, so that they free bandwidth for what begins


def simulate_parallel(program: ParProgram, processor: Processor, clouds: Clouds | None = None) -> Trace:
    """Time the parallel form of a program, under a clear sky unless `clouds` says otherwise.

    A deadlock is a `ContractError` that names the blocked steps.
    """
    run = _Run(program, processor, Sky(clouds, processor) if clouds is not None else None)
    run.until_the_end()
    spans = sorted(run.spans, key=lambda item: (item[1].start_cycles, item[0]))
    return trace_of(program.name, processor, tuple(span for _, span in spans))


def _time(signal: tuple[int, int, Command]) -> int:
    return signal[0]


class _Run:
    """The state of one simulation. Queues go by their index.

    An event is (kind, queue, version): the end of the queue's step, or the end of its latency. An end that was foretold
    otherwise since has an old version.
    """

    def __init__(self, program: ParProgram, processor: Processor, sky: Sky | None) -> None:
        self.spans: list[tuple[int, Span]] = []
        self._processor = processor
        self._queues = program.queues
        self._engines = tuple(program.queues)
        self._steps = tuple(program.queues.values())
        count = len(self._steps)
        self._heads = [0] * count
        self._free_since = [0] * count
        self._started = [0] * count
        self._prices: list[Price | None] = [None] * count
        self._reasons = [""] * count
        self._flowing: set[int] = set()
        self._version = 0
        self._versions = [0] * count
        cores = [engine_of_queue(engine)[1] for engine in self._engines]
        ports = {core: Ports(processor) for core in cores}
        self._ports = [ports[core] for core in cores]
        self._waiting: dict[int, int] = {}
        self._signals: dict[int, tuple[int, int, Command]] = {}
        self._clock: Clock[tuple[int, int, int]] = Clock()
        self._dram = SharedDram(processor, sky)
        self._sky = sky

    def until_the_end(self) -> None:
        for queue in range(len(self._steps)):
            self._try_to_start(queue)
        while (event := self._clock.next()) is not None:
            kind, queue, version = event
            if kind == _FLOW:
                self._flow(queue)
            elif version == self._versions[queue]:
                self._end(queue)
        if any(head < len(steps) for head, steps in zip(self._heads, self._steps, strict=True)):
            heads = dict(zip(self._engines, self._heads, strict=True))
            raise deadlock_error(self._queues, heads, set(self._signals))

    def _try_to_start(self, queue: int) -> None:
        head = self._heads[queue]
        if head == len(self._steps[queue]):
            return
        step = self._steps[queue][head]
        for token in step.waits:
            if token not in self._signals:
                self._waiting[token] = queue
                return
        now = self._clock.now
        self._reasons[queue] = ""
        if now > self._free_since[queue]:
            _, source, last = max([self._signals[token] for token in step.waits], key=_time)
            self._reasons[queue] = f"{self._engines[source]}: {last.op} of {last.layer}"
        price = command_price(step.command, self._processor)
        self._prices[queue], self._started[queue] = price, now
        if price.transfer_bytes:
            latency_cycles = price.cycles - transfer_cycles(price.transfer_bytes, self._processor)
            if self._sky is not None:
                latency_cycles += self._sky.extra_latency_cycles(self._engines[queue], head)
            self._clock.schedule(now + latency_cycles, _FLOW, (_FLOW, queue, 0))
        else:
            self._expect(self._ports[queue].begin(queue, step.command, price, now))

    def _expect(self, ends: Ends) -> None:
        """Steps that compute end so, and not as was said before."""
        for cycle, queue in ends:
            self._version += 1
            self._versions[queue] = self._version
            self._clock.schedule(cycle, _END, (_END, queue, self._version))

    def _flow(self, queue: int) -> None:
        price = self._prices[queue]
        assert price is not None
        self._flowing.add(queue)
        command = self._steps[queue][self._heads[queue]].command
        self._dram.begin(queue, price.transfer_bytes, type(command.attributes) is Store, self._clock.now)
        self._expect(self._ports[queue].flow(queue, command, self._clock.now))
        self._foretell()

    def _foretell(self) -> None:
        """Schedule the ends of all transfers anew, since their share has changed."""
        self._version += 1
        for queue in self._flowing:
            self._versions[queue] = self._version
        for cycle, queue in self._dram.ends():
            self._clock.schedule(cycle, _END, (_END, queue, self._version))

    def _end(self, queue: int) -> None:
        now, price = self._clock.now, self._prices[queue]
        assert price is not None
        step = self._steps[queue][self._heads[queue]]
        command = step.command
        flows = queue in self._flowing
        self.spans.append(
            (
                queue,
                Span(
                    self._engines[queue],
                    command.layer,
                    command.op,
                    self._started[queue],
                    now,
                    self._free_since[queue],
                    self._reasons[queue],
                    price.dram_bytes,
                    price.sram_bytes,
                    price.macs,
                    price.energy_pj,
                    0 if flows else now - self._started[queue] - price.cycles,
                ),
            )
        )
        if flows:
            self._flowing.remove(queue)
            self._dram.end(queue, now)
            self._expect(self._ports[queue].stop(queue, now))
            self._foretell()
        else:
            self._expect(self._ports[queue].finish(queue, now))
        self._heads[queue] += 1
        self._free_since[queue] = now
        freed = [queue]
        for token in step.signals:
            self._signals[token] = (now, queue, command)
            if token in self._waiting:
                freed.append(self._waiting.pop(token))
        for other in freed:
            self._try_to_start(other)
