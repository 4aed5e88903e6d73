"""COMMAND_RULES: what must hold of every command by itself, whichever form of program it stands in.

The order matters: a rule may count on those before it, and a command is not asked further once it has broken one.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from nas.check import formats, operands
from nas.check.rule import CommandRule
from nas.ir.command import Command
from nas.ir.tensor import Region

COMMAND_RULES: tuple[CommandRule, ...] = (
    CommandRule("engine", "an engine can't execute what it was not built for", operands.engine),
    CommandRule("dataflow", "an engine keeps in place what it has registers for", operands.dataflow),
    CommandRule("layout", "a box needs sizes, strides and elements that exist", operands.layout),
    CommandRule("operands", "an engine finds its operands by their place in the command", operands.operands),
    CommandRule("memory", "each engine is wired to its memories alone", operands.memory),
    CommandRule("window", "a window that stands still or sees only padding has no result", operands.window),
    CommandRule("groups", "every group has the same number of channels", operands.groups),
    CommandRule("shapes", "the engine writes as much as it computes", operands.shapes),
    CommandRule("table", "scale and shift are looked up by channel", operands.table),
    CommandRule("factor", "multiplication is element by element", operands.factor),
    CommandRule("addend", "addition is element by element", operands.addend),
    CommandRule("written_once", "two values for one element leave its value to chance", formats.written_once),
    CommandRule("formats", "bits are numbers only by a format that exists", formats.formats),
    CommandRule("format_bits", "elements of another width are other elements", formats.format_bits),
    CommandRule("sums", "a sum that does not fit its register is another number", formats.sums),
    CommandRule("activation", "a clip whose low is above its high has no meaning", formats.activation),
    CommandRule("host_call", "the host must find its function and its tensors", formats.host_call),
)


def command_breaches(commands: Sequence[Command]) -> Iterator[tuple[int, str, str]]:
    """(index, rule, message) for every command that breaks a rule: the first that it breaks."""
    for index, command in enumerate(commands):
        reads, writes = _at_zero(command.reads), _at_zero(command.writes)
        breach = _judge(Command(command.engine, "", reads, writes, command.attributes))
        if breach is not None:
            yield (index, *breach)


def _at_zero(regions: tuple[Region, ...]) -> tuple[Region, ...]:
    return tuple([Region(each.memory, 0, each.shape, each.strides, each.bits) for each in regions])


# Tiles of a layer differ in their addresses alone, and so do the layers of a search's next candidate: each kind of
# command is judged once in the life of the process.
@lru_cache(maxsize=1 << 16)
def _judge(command: Command) -> tuple[str, str] | None:
    for rule in COMMAND_RULES:
        message = rule.breach(command)
        if message:
            return rule.name, message
    return None
