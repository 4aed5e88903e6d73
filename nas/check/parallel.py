"""RULES_PAR: is a parallel program legal under every speed of its engines, and the same work as the sequential one?

Race-free is enough for one result: if every two conflicting accesses are ordered by queues and tokens, all legal orders
give the same values, so that what is never written before it is read in one of them is so in none of the others.
Stage 1 looks at single steps, stage 2 at queues, tokens and addresses, stage 3 at the
order and at what each command overwrites, the later ones at what the order makes of the memories.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.check import program as rules
from nas.check.command import COMMAND_RULES, command_breaches
from nas.check.kept import format_kept, own_operands
from nas.check.order import Order, Steps, cycle_of, order_of, steps_of
from nas.check.race import inversions, races
from nas.check.rule import CommandRule, Finding, Place, ProgramRule, box_text, findings_of
from nas.check.subject import Subject
from nas.check.work import operator, tensors
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.cores import core_of_memory, engine_of_queue, on_core, queue_name, sram_name
from nas.ir.par_program import ParProgram
from nas.ir.program import Program


@dataclass(frozen=True)
class ParSubject(Subject):
    """A parallel program; its commands are numbered queue by queue.

    sequential: what it was made from, if known; sequential_is_checked: whether a checker has passed that one.
    """

    steps: Steps
    sequential: Program | None
    sequential_is_checked: bool

    def place(self, index: int) -> str:
        return self.steps.name(index)

    @cached_property
    def ranks(self) -> list[int] | None:
        """The place of each step's command in the sequential program; None unless they are the same commands."""
        if self.sequential is None:
            return None
        places: dict[Command, list[int]] = {}
        for index in range(len(self.sequential.commands) - 1, -1, -1):
            places.setdefault(self.sequential.commands[index], []).append(index)
        try:
            # Equal commands have one engine and so one queue, in which they keep their order.
            ranks = [places[command].pop() for command in self.commands]
        except (KeyError, IndexError):
            return None
        return ranks if len(ranks) == len(self.sequential.commands) else None

    @cached_property
    def happens_before(self) -> Order:
        return order_of(self.steps, self.ranks)

    @property
    def network(self) -> Program | None:
        return self.sequential

    @property
    def order(self) -> Sequence[int]:
        return self.happens_before.legal

    def command_findings(self) -> Iterator[Finding]:
        """What the rules about single commands find; they know one core, whichever it is (see `own_sram`)."""
        plain = [on_core(command, 0) if self.processor.cores > 1 else command for command in self.commands]
        for index, rule, message in command_breaches(plain):
            yield Finding(rule, self.place(index), message)


def queues(subject: ParSubject) -> Iterator[Place]:
    """Every step stands in the queue of its engine, on a core that exists."""
    cores = subject.processor.cores
    for number, step in enumerate(subject.steps.steps):
        queue = subject.steps.names[subject.steps.queue[number]]
        engine, core = engine_of_queue(queue)
        if engine != step.command.engine or queue_name(engine, core) != queue:
            yield subject.place(number), f"expected the queue {step.command.engine!r} of a core, got {queue!r}"
        elif core >= cores:
            yield subject.place(number), f"expected a queue of one of {cores} core(s), got {queue!r}"


def own_sram(subject: ParSubject) -> Iterator[Place]:
    """No step touches the sram of another core."""
    for number, step in enumerate(subject.steps.steps):
        engine, core = engine_of_queue(subject.steps.names[subject.steps.queue[number]])
        if engine != step.command.engine or core >= subject.processor.cores:
            continue  # it stands in a queue that is none, which is another rule's
        for region in (*step.command.reads, *step.command.writes):
            if core_of_memory(region.memory) not in (None, core):
                message = f"expected {sram_name(core)}, which its core is wired to, got {region.memory}"
                yield subject.place(number), message


def tokens(subject: ParSubject) -> Iterator[Place]:
    """Every token is signalled once and waited for once."""
    steps = subject.steps.steps
    signals = Counter(token for step in steps for token in step.signals)
    waits = Counter(token for step in steps for token in step.waits)
    wrong = {token for token in signals.keys() | waits.keys() if not signals[token] == waits[token] == 1}
    if not wrong:
        return
    for number, step in enumerate(steps):
        for token in sorted(wrong.intersection((*step.signals, *step.waits))):
            times = f"signalled {signals[token]} and waited for {waits[token]} time(s)"
            yield subject.place(number), f"token {token}: expected one signal and one wait, got {times}"


def same_work(subject: ParSubject) -> Iterator[Place]:
    """The parallel program has the bindings and commands of the sequential one, each as often."""
    if subject.sequential is None:
        return
    for part in ("inputs", "constants", "outputs"):
        if getattr(subject.program, part) != getattr(subject.sequential, part):
            yield part, f"expected the {part} of the sequential program, got others"
    if subject.ranks is not None:
        return
    here, there = Counter(subject.commands), Counter(subject.sequential.commands)
    for number, command in enumerate(subject.commands):
        if here[command] > there[command]:
            yield (
                subject.place(number),
                f"stands here {here[command]} and in the sequential program {there[command]} time(s)",
            )
    for index, command in enumerate(subject.sequential.commands):
        if there[command] > here[command]:
            yield (
                f"command {index} ({command.layer}) of the sequential program",
                f"stands there {there[command]} and in the parallel program {here[command]} time(s)",
            )


def deadlock(subject: ParSubject) -> Iterator[Place]:
    """No step waits, in the end, for itself."""
    order = subject.happens_before
    if len(order.legal) < len(subject.steps.steps):
        cycle = cycle_of(order)
        names = [subject.place(number) for number in cycle]
        yield names[0], "waits for itself: " + " waits for ".join([*names, names[0]])


def race(subject: ParSubject) -> Iterator[Place]:
    """Two accesses to one byte, one of them a write, are ordered."""
    yield from _told(subject, races(subject.happens_before, subject.accesses), "nothing orders it and")


def order(subject: ParSubject) -> Iterator[Place]:
    """Two accesses to one byte, one of them a write, come in the order of the sequential program."""
    if subject.ranks is None:
        return
    ranks = np.array(subject.ranks, np.int64)
    pairs = inversions(subject.happens_before.legal, ranks, subject.accesses)
    yield from _told(subject, pairs, "sequentially it comes after, here before")


def _alone(breaches: Callable[[Subject], Iterator[Place]]) -> Callable[[ParSubject], Iterator[Place]]:
    """A rule that is asked where no sequential program, which does and reads the same, has been asked it."""

    def asked(subject: ParSubject) -> Iterator[Place]:
        if subject.sequential is None or not subject.sequential_is_checked:
            yield from breaches(subject)

    return asked


def _told(subject: ParSubject, pairs: Iterator[tuple[int, int]], what: str) -> Iterator[Place]:
    accesses = subject.accesses
    told: set[tuple[int, int]] = set()
    for one, other in pairs:
        steps = (accesses.command[one], accesses.command[other])
        if steps in told:
            continue
        told.add(steps)
        does, to = ("writes" if accesses.is_write[entry] else "reads" for entry in (one, other))
        mine, theirs = box_text(accesses.region[one]), box_text(accesses.region[other])
        yield subject.place(steps[0]), f"{does} {mine}; {what} {subject.place(steps[1])}, which {to} {theirs}"


PROGRAM_RULES: tuple[ProgramRule[ParSubject], ...] = (
    ProgramRule("processor", "tiles and addresses fit the processor they were made for", 1, rules.processor),
    ProgramRule("used_bytes", "the size of a memory is a hard limit in every order", 1, rules.used_bytes),
    ProgramRule("bindings", "a person finds inputs, constants and outputs by their bindings", 1, rules.bindings),
    ProgramRule("queues", "an engine fetches from its own queue alone", 1, queues),
    ProgramRule("own_sram", "a core is wired to its own sram alone", 1, own_sram),
    ProgramRule(
        "tokens", "a token is a mailbox for one signal: more are lost, fewer are waited for for ever", 2, tokens
    ),
    ProgramRule("same_work", "parallel or not, the result is that of the same commands", 2, same_work),
    ProgramRule("tensors", "a network has its inputs and outputs, and no others", 2, _alone(tensors)),
    ProgramRule("operator", "a network is what its operators say", 2, _alone(operator)),
    ProgramRule("inside", "an address outside the memory in use belongs to nobody or to others", 2, rules.inside),
    ProgramRule("deadlock", "engines that wait for each other wait for ever", 3, deadlock),
    ProgramRule("bindings_apart", "one tensor would destroy the other", 3, rules.bindings_apart),
    ProgramRule("read_only", "the next frame needs its constants, and the caller its input", 3, rules.read_only),
    ProgramRule("in_place", "an engine may read an operand again after it wrote a result", 3, rules.in_place),
    ProgramRule("race", "which of two engines is faster must not change a value", 4, race),
    ProgramRule("order", "a value is read after it was made and before it is replaced, as sequentially", 5, order),
    ProgramRule("written_before_read", "memory holds garbage until it is written", 6, rules.written_before_read),
    ProgramRule("outputs_complete", "what is not written of an output is garbage", 6, rules.outputs_complete),
    ProgramRule("format_kept", "the same bits are other numbers in another format", 6, _alone(format_kept)),
    ProgramRule("own_operands", "where an operand lay may be another tensor by now", 6, _alone(own_operands)),
)
RULES_PAR: tuple[CommandRule | ProgramRule[ParSubject], ...] = (*COMMAND_RULES, *PROGRAM_RULES)


def check_par_program(
    par: ParProgram, processor: Processor, sequential: Program | None = None, sequential_is_checked: bool = True
) -> tuple[Finding, ...]:
    """All that is wrong with `par` on `processor`; empty if it is legal.

    With `sequential`, also whether it does the same work and keeps every dependence of that program. Where
    `check_program` has passed that program, what its commands do and read is known to be right and is not looked at again.
    """
    steps = steps_of(par.queues)
    commands = tuple([step.command for step in steps.steps])
    subject = ParSubject(par, processor, commands, steps, sequential, sequential_is_checked)
    return findings_of(subject, PROGRAM_RULES, subject.command_findings())
