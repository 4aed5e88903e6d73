"""The parallel form: a queue of steps per engine and per core, held together by tokens.

A token is a mailbox for one signal: exactly one step signals it after its command has ended, exactly one step waits for it
before its command starts. Steps of one queue run in order; steps of different queues are ordered by tokens alone.

The queues and the sram of core 0 have the names of their engines and `sram`; those of core k have its number behind them
(`matrix1` works on `sram1`). A core's engines touch the sram of their own core and no other; what cores have to tell each
other goes through the dram, which they share with the one host.
"""

import msgspec

from nas.ir.command import Command
from nas.ir.program import Binding


class Step(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A command, the tokens it waits for first and the tokens it signals at its end."""

    command: Command
    waits: tuple[int, ...] = ()
    signals: tuple[int, ...] = ()


class ParProgram(msgspec.Struct, frozen=True):
    """`queues` by engine and core (see `nas.ir.cores`); everything else as in `nas.ir.program.Program`."""

    name: str
    processor: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    constants: tuple[Binding, ...]
    queues: dict[str, tuple[Step, ...]]
    used_bytes: dict[str, int]
