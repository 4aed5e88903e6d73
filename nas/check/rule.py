"""What a rule is, and what it finds.

A checker is a table of rules, as data: a name, a sentence that says why the rule is there, and a function that looks.
Rules have a stage: those of a stage are asked only if every earlier stage found nothing, since they rest on it (nobody
can say which bytes a region of negative shape covers). A command is judged by its rules in the order of the table, and
the first that it breaks is reported.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from nas.core.errors import ContractError, InputError
from nas.ir.command import Command
from nas.ir.tensor import Region

Subject = TypeVar("Subject")
Place = tuple[str, str]

# A broken program is told after some examples; a hostile one must not fill the memory with complaints.
_FINDINGS_PER_RULE = 100


class Finding(msgspec.Struct, frozen=True):
    """One breach. rule: its name; where: the command (index, or queue and position) and its layer; message: what,
    expected, got."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class CommandRule:
    """A rule about one command, wherever its regions lie. `breach` says what is wrong, or "" if nothing is."""

    name: str
    why: str
    breach: Callable[[Command], str]


@dataclass(frozen=True)
class ProgramRule(Generic[Subject]):
    """A rule about a whole program. `breaches` yields (where, message)."""

    name: str
    why: str
    stage: int
    breaches: Callable[[Subject], Iterable[Place]]


def findings_of(
    subject: Subject, rules: Sequence[ProgramRule[Subject]], first: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """What `rules` find, stage by stage; `first` are findings of the first stage that are known already."""
    found = list(islice(first, _FINDINGS_PER_RULE))
    for stage in sorted({rule.stage for rule in rules}):
        for rule in rules:
            if rule.stage == stage:
                found.extend(_named(rule, subject))
        if found:
            break
    return tuple(found)


def _named(rule: ProgramRule[Subject], subject: Subject) -> Iterator[Finding]:
    for where, message in islice(rule.breaches(subject), _FINDINGS_PER_RULE):
        yield Finding(rule.name, where, message)


def raise_findings(findings: Sequence[Finding], what: str) -> None:
    """Raise a `ContractError` with the first few findings about `what`, if there are any."""
    if not findings:
        return
    shown = 5
    lines = [
        f"{what} breaks {len(findings)} rule(s) of the checker:",
        *(f"  {finding}" for finding in findings[:shown]),
    ]
    if len(findings) > shown:
        lines.append(f"  ... and {len(findings) - shown} more")
    raise ContractError("\n".join(lines))


def refuse_findings(findings: Sequence[Finding], file: object) -> None:
    """Raise an `InputError` with the first of `findings` about a program that is read from `file`, if there are any."""
    if not findings:
        return
    first, *others = findings
    hint = f"and {len(others)} more" if others else ""
    raise InputError(file, first.where, f"a program that keeps the rule {first.rule!r}", first.message, hint)


def box_text(region: Region) -> str:
    """A region as people read it."""
    sizes = "x".join(map(str, region.shape))
    return f"{region.memory}[{region.offset_bytes:#x}: {sizes} @{region.bits}]"
