"""Rule: elements are read in the format in which they were written.

What a command computes is written in the format of its result, what is moved keeps the one that it has. Bytes of which
nobody can say it are read in any: those of a constant that is bound as plain bytes, and moves of mixed ones.
"""

from collections.abc import Iterator

from nas.check.marks import Numbers
from nas.check.program import box_text
from nas.check.rule import Place
from nas.check.subject import Subject
from nas.ir.command import Command, Copy, Eltwise, Host, Load, Pool, Store
from nas.ir.tensor import FLOAT32, Format, Region

_UNKNOWN = 0
_PLAIN_BYTES = Format(8, "code", levels=255)


def format_kept(subject: Subject) -> Iterator[Place]:
    """Every element is read in the format in which it was written, and outputs end in theirs."""
    formats: dict[Format | None, int] = {None: _UNKNOWN}
    # Many commands share their attributes, which take long to compare.
    kinds: dict[tuple[int, int], list[int]] = {}
    for command in subject.commands:
        kind = id(command.attributes), len(command.reads)
        if kind not in kinds:
            kinds[kind] = [formats.setdefault(form, len(formats)) for form in _formats_of(command)]
    bound = [(part, each, formats.setdefault(_known(each.format), len(formats))) for part, each in subject.bindings()]
    if len(formats) <= 2:
        return  # one format, and plain bytes
    names = list(formats)
    held = {memory: Numbers(used, unit, len(names)) for memory, (used, unit) in subject.memories.items()}

    def breach(region: Region, expected: int) -> str:
        found = held[region.memory].of(region) if expected != _UNKNOWN else ()
        wrong = next((other for other in found if other not in (_UNKNOWN, expected)), _UNKNOWN)
        return f"{box_text(region)} was written as {names[wrong]}, got {names[expected]}" if wrong else ""

    for part, binding, number in bound:
        if part != "output" and number != _UNKNOWN:
            held[binding.region.memory].put(binding.region, number)
    for index in subject.order:
        command = subject.commands[index]
        *expected, given = kinds[id(command.attributes), len(command.reads)]
        if isinstance(command.attributes, Load | Store | Copy):  # what moves stays what it is
            found = held[command.reads[0].memory].of(command.reads[0])
            given = found[0] if len(found) == 1 else _UNKNOWN
        for place, (region, number) in enumerate(zip(command.reads, expected, strict=False)):
            if wrong := breach(region, number):
                yield subject.place(index), f"read {place}, {wrong}"
        for region in command.writes:
            held[region.memory].put(region, given)
    for part, binding, number in bound:
        if part == "output" and (wrong := breach(binding.region, number)):
            yield f"output {binding.name}", wrong


def _formats_of(command: Command) -> list[Format | None]:
    """The formats in which a command takes its reads, and last the one in which it gives its results; moves take none."""
    attributes = command.attributes
    if isinstance(attributes, Load | Store | Copy):
        return [None]
    if isinstance(attributes, Host):
        forms = [FLOAT32] * (len(command.reads) + 1)
    elif isinstance(attributes, Pool):
        forms = [attributes.input, attributes.output]
    else:
        tail = attributes.tail
        forms = [attributes.input] if isinstance(attributes, Eltwise) else [attributes.input, attributes.weight]
        forms += [FLOAT32] if tail.table else []
        forms += [form for form in (tail.multiply, tail.add, tail.output) if form is not None]
    return [_known(form) for form in forms]


def _known(form: Format) -> Format | None:
    """None for plain bytes, which may be anything; floats by their bits alone."""
    if form.is_code:
        return None if form == _PLAIN_BYTES else form
    return Format(form.bits)
