"""Program -> Trace: one command at a time, the next starts when the last has ended.

A command takes the cycles of its price, unless its operands lie in too few pages for their ports (`nas.sim.pages`).
"""

from nas.hw.spec import Processor
from nas.ir.program import Program
from nas.sim.pages import own_cycles
from nas.sim.trace import Span, Trace, span_of, trace_of
from nas.timing.price import command_price


def simulate(program: Program, processor: Processor) -> Trace:
    """Time the sequential form of a program."""
    spans: list[Span] = []
    now = 0
    for command in program.commands:
        price = command_price(command, processor)
        end = now + own_cycles(command, price, processor)
        spans.append(span_of(command, price, command.engine, now, end))
        now = end
    return trace_of(program.name, processor, tuple(spans))
