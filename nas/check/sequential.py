"""RULES_SEQ: is a sequential program legal? Answered by inspection, with nothing of the compiler or the simulators.

Stage 1 looks at commands and bindings one by one, stage 2 at where they lie, stage 3 at what they do to each other.
"""

from nas.check import program as rules
from nas.check.command import COMMAND_RULES, command_breaches
from nas.check.kept import format_kept, own_operands
from nas.check.rule import CommandRule, Finding, ProgramRule, findings_of
from nas.check.subject import Subject
from nas.check.work import operator, tensors
from nas.hw.spec import Processor
from nas.ir.program import Program

PROGRAM_RULES: tuple[ProgramRule[Subject], ...] = (
    ProgramRule("processor", "tiles and addresses fit the processor they were made for", 1, rules.processor),
    ProgramRule("used_bytes", "the size of a memory is a hard limit", 1, rules.used_bytes),
    ProgramRule("bindings", "a person finds inputs, constants and outputs by their bindings", 1, rules.bindings),
    ProgramRule("tensors", "a network has its inputs and outputs, and no others", 2, tensors),
    ProgramRule("operator", "a network is what its operators say", 2, operator),
    ProgramRule("inside", "an address outside the memory in use belongs to nobody or to others", 2, rules.inside),
    ProgramRule("bindings_apart", "one tensor would destroy the other", 3, rules.bindings_apart),
    ProgramRule("read_only", "the next frame needs its constants, and the caller its input", 3, rules.read_only),
    ProgramRule("in_place", "an engine may read an operand again after it wrote a result", 3, rules.in_place),
    ProgramRule("written_before_read", "memory holds garbage until it is written", 3, rules.written_before_read),
    ProgramRule("outputs_complete", "what is not written of an output is garbage", 3, rules.outputs_complete),
    ProgramRule("format_kept", "the same bits are other numbers in another format", 3, format_kept),
    ProgramRule("own_operands", "where an operand lay may be another tensor by now", 3, own_operands),
)
RULES_SEQ: tuple[CommandRule | ProgramRule[Subject], ...] = (*COMMAND_RULES, *PROGRAM_RULES)


def check_program(program: Program, processor: Processor) -> tuple[Finding, ...]:
    """All that is wrong with `program` on `processor`; empty if it is legal."""
    subject = Subject(program, processor, program.commands)
    return findings_of(subject, PROGRAM_RULES, subject.command_findings())


def check_commands(program: Program) -> tuple[Finding, ...]:
    """What can be said of `program` where nobody knows its processor: all that is wrong with its commands one by one."""
    breaches = command_breaches(program.commands)
    return tuple(
        Finding(rule, f"command {index} ({program.commands[index].layer})", message)
        for index, rule, message in breaches
    )
