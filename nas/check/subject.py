"""What a program of either form looks like to the rules that both forms share."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from nas.check.accesses import Accesses, accesses_of
from nas.check.command import command_breaches
from nas.check.expected import Expected
from nas.check.held import Breaches, breaches_of
from nas.check.memory import unit_bytes
from nas.check.rule import Finding
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.par_program import ParProgram
from nas.ir.program import Binding, Program


@dataclass(frozen=True)
class Subject:
    """A program, the processor that it is for, and its commands; those of a parallel program queue by queue."""

    program: Program | ParProgram
    processor: Processor
    commands: Sequence[Command]

    @cached_property
    def accesses(self) -> Accesses:
        return accesses_of(self.commands)

    @cached_property
    def memories(self) -> dict[str, tuple[int, int]]:
        """Of each memory in use its bytes, and the unit that divides every address and length in it."""
        used_bytes = self.program.used_bytes
        units = dict.fromkeys(used_bytes, 0)
        for region in {*self.accesses.region, *(binding.region for _, binding in self.bindings())}:
            unit = unit_bytes(region.shape, region.strides, region.bits)
            units[region.memory] = math.gcd(units[region.memory], region.offset_bytes, unit)
        return {memory: (used, max(1, units[memory])) for memory, used in used_bytes.items()}

    @cached_property
    def held(self) -> Breaches:
        """What is wrong with what commands read, by what lies there."""
        return breaches_of(self.commands, self.order, self.memories, tuple(self.bindings()), self.expected)

    @cached_property
    def expected(self) -> Expected:
        """What the network expects of the commands; nothing where nobody knows it."""
        network = self.network
        return Expected((), ()) if network is None else Expected(network.operators, network.tensors)

    @property
    def network(self) -> Program | None:
        """The program that knows the operators and tensors of the network; None where nobody does."""
        return self.program if isinstance(self.program, Program) else None

    @property
    def order(self) -> Sequence[int]:
        """A legal order of execution, by the index of the command."""
        return range(len(self.commands))

    def place(self, index: int) -> str:
        """How a person finds a command."""
        return f"command {index} ({self.commands[index].layer})"

    def command_findings(self) -> Iterator[Finding]:
        """What the rules about single commands find."""
        for index, rule, message in command_breaches(self.commands):
            yield Finding(rule, self.place(index), message)

    def bindings(self) -> Iterator[tuple[str, Binding]]:
        """Every bound tensor with its part in the program."""
        program = self.program
        for part, bindings in (
            ("input", program.inputs),
            ("constant", program.constants),
            ("output", program.outputs),
        ):
            for binding in bindings:
                yield part, binding
