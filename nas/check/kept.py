"""Rules: elements are read in the format in which they were written, and as what they are of the network; see `held`."""

from collections.abc import Iterator

from nas.check.rule import Place
from nas.check.subject import Subject


def format_kept(subject: Subject) -> Iterator[Place]:
    """Every element is read in the format in which it was written, and outputs end in theirs."""
    yield from _named(subject, subject.held.formats)


def own_operands(subject: Subject) -> Iterator[Place]:
    """What a command reads is a part of what its operator reads, and outputs are what they are called."""
    yield from _named(subject, subject.held.operands)


def _named(subject: Subject, breaches: list[tuple[int | str, str]]) -> Iterator[Place]:
    for where, message in breaches:
        yield (where if isinstance(where, str) else subject.place(where)), message
