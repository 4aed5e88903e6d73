"""A program -> what is wrong with what its commands read, by what lies there: one sweep, in a legal order.

Of every byte it is known in which format it was written, and of which tensors of the network it is a part. What a command computes has
the format of its result and is a part of what its operator makes; what is moved stays what it is.

Nobody can say the format of constants that are bound as plain bytes, or of moves of several formats, and these are read in any. Nor
is anything known of what commands read and write whose layer has no operator like them (rule `operator`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nas.check.expected import ANY, Expected, Names
from nas.check.marks import Numbers
from nas.check.rule import box_text
from nas.ir.command import Command, Copy, Eltwise, Host, Load, Pool, Store
from nas.ir.program import Binding
from nas.ir.tensor import FLOAT32, Format, Region

_PLAIN_BYTES = Format(8, "code", levels=255)
_MOST_TENSORS = 8  # that one transfer is known to bring; of more it is not asked
_MOST_BREACHES = 100


class Mark(NamedTuple):
    """What is known of bytes. form: None: any. tensors: parts of these; none: of any."""

    form: Format | None
    tensors: Names


_UNKNOWN = Mark(None, ANY)


@dataclass
class Breaches:
    """Where elements are read in another format, and where parts of another tensor; by the index of the command or a text."""

    formats: list[tuple[int | str, str]] = field(default_factory=list)
    operands: list[tuple[int | str, str]] = field(default_factory=list)


def breaches_of(
    commands: Sequence[Command], order: Iterable[int], memories: dict[str, tuple[int, int]],
    bindings: Sequence[tuple[str, Binding]], expected: Expected,
) -> Breaches:  # fmt: skip
    """memories: bytes and unit of each, see `marks`. expected: what the network says of its commands."""
    sweep = _Sweep(commands, memories, bindings, expected)
    for index in order:
        sweep.execute(index)
    sweep.finish()
    return sweep.found


class _Sweep:
    def __init__(
        self, commands: Sequence[Command], memories: dict[str, tuple[int, int]], bindings: Sequence[tuple[str, Binding]],
        expected: Expected,
    ) -> None:  # fmt: skip
        self.found = Breaches()
        self._commands, self._bindings, self._expected = commands, bindings, expected
        self._numbers, self._marks = {_UNKNOWN: 0}, [_UNKNOWN]
        most = len(commands) + len(bindings) + 1  # each makes one kind of bytes at most
        self._held = {memory: Numbers(used, unit, most) for memory, (used, unit) in memories.items()}
        self._works: dict[tuple[str, int, int], tuple[Mark, ...]] = {}  # by read, and last of what is written
        self._fits: dict[tuple[Mark, int], tuple[bool, bool]] = {}
        for part, each in bindings:
            if part != "output":
                self._put(each.region, Mark(known_form(each.format), self._expected.bound(each.name)))

    def execute(self, index: int) -> None:
        command = self._commands[index]
        if isinstance(command.attributes, Load | Store | Copy):
            given = self._moved(command.reads[0])
        else:
            # Many commands share their attributes, which take long to compare.
            key = command.layer, id(command.attributes), len(command.reads)
            if key not in self._works:
                forms = forms_of(command)
                self._works[key] = tuple(map(Mark, forms, self._expected.operands(command, len(forms) - 1)))
            *taken, given = self._works[key]
            for place, (region, wanted) in enumerate(zip(command.reads, taken, strict=False)):
                self._look(index, f"read {place}, ", region, wanted)
        for region in command.writes:
            self._put(region, given)

    def finish(self) -> None:
        """Outputs end in their formats, and are what they are called."""
        for part, each in self._bindings:
            if part == "output":
                wanted = Mark(known_form(each.format), self._expected.bound(each.name))
                self._look(f"output {each.name}", "", each.region, wanted)

    def _look(self, where: int | str, what: str, region: Region, wanted: Mark) -> None:
        for number in self._held[region.memory].of(region) if wanted != _UNKNOWN else ():
            key = wanted, number
            if key not in self._fits:
                held = self._marks[number]
                self._fits[key] = (
                    None in (held.form, wanted.form) or held.form == wanted.form,
                    not held.tensors or not wanted.tensors or not held.tensors.isdisjoint(wanted.tensors),
                )
            in_format, own = self._fits[key]
            if not in_format and len(self.found.formats) < _MOST_BREACHES:
                message = f"{what}{box_text(region)} was written as {self._marks[number].form}, got {wanted.form}"
                self.found.formats.append((where, message))
            if not own and len(self.found.operands) < _MOST_BREACHES:
                expected, got = (", ".join(sorted(names)) for names in (wanted.tensors, self._marks[number].tensors))
                self.found.operands.append(
                    (where, f"{what}{box_text(region)}: expected a part of {expected}, got one of {got}")
                )

    def _moved(self, region: Region) -> Mark:
        found = [self._marks[number] for number in self._held[region.memory].of(region)]
        if len(found) == 1:
            return found[0]
        forms, tensors = {mark.form for mark in found}, frozenset[str]().union(*(mark.tensors for mark in found))
        unknown = any(not mark.tensors for mark in found) or len(tensors) > _MOST_TENSORS
        return Mark(forms.pop() if len(forms) == 1 else None, ANY if unknown else tensors)

    def _put(self, region: Region, mark: Mark) -> None:
        number = self._numbers.setdefault(mark, len(self._marks))
        if number == len(self._marks):
            self._marks.append(mark)
        self._held[region.memory].put(region, number)


def forms_of(command: Command) -> list[Format | None]:
    """The formats in which a command that computes takes its reads, and last the one in which it gives its results."""
    attributes = command.attributes
    assert not isinstance(attributes, Load | Store | Copy)
    if isinstance(attributes, Host):
        forms = [FLOAT32] * (len(command.reads) + 1)
    elif isinstance(attributes, Pool):
        forms = [attributes.input, attributes.output]
    else:
        tail = attributes.tail
        forms = [attributes.input] if isinstance(attributes, Eltwise) else [attributes.input, attributes.weight]
        forms += [FLOAT32] if tail.table else []
        forms += [form for form in (tail.multiply, tail.add, tail.output) if form is not None]
    return [known_form(form) for form in forms]


def known_form(form: Format) -> Format | None:
    """None for plain bytes, which may be anything; floats by their bits alone."""
    if form.is_code:
        return None if form == _PLAIN_BYTES else form
    return Format(form.bits)
