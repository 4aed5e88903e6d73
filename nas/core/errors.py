"""What can go wrong, in three kinds.

An `InputError` is the user's to mend: it names where, which field, what was expected and what was got.
A `ContractError` is ours to mend: a stage handed on something that it had promised not to.
A `Violation` is no error at all but an answer: "this does not fit", with what would help.
"""

import difflib
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from nas.core.choices import choices_at
from nas.core.units import amount

_LONGEST = 1000
_NO_CHOICE = "Invalid enum value "
_MISSING = "Object missing required field "


class CoevoError(Exception):
    """The root of every error that Coevo raises on purpose."""


class InputError(CoevoError):
    """Input that cannot be used. Reads as "where: field: expected ..., got ..."."""

    def __init__(self, where: object, field: str, expected: str, got: object, hint: str = "") -> None:
        self.where, self.field, self.expected, self.got, self.hint = str(where), field, expected, got, hint
        place = ": ".join(_clipped(part) for part in (self.where, field) if part)
        message = f"{place}: expected {_clipped(expected)}, got {_clipped(str(got))}"
        super().__init__(message + (f" ({_clipped(hint)})" if hint else ""))


class ContractError(CoevoError):
    """A promise between two parts of Coevo was broken: a bug, never the user's fault."""


class Violation(msgspec.Struct, frozen=True):
    """One thing that does not fit, as a value.

    what: the limit that is broken, such as "sram_bytes"; where: the layer, command or field;
    need and have: amounts in `unit`; help: what would make it fit.
    """

    what: str
    where: str
    need: float
    have: float
    unit: str
    help: str = ""

    def __str__(self) -> str:
        advice = f"; {self.help}" if self.help else ""
        need, have = amount(self.need, self.unit), amount(self.have, self.unit)
        if need == have:  # they differ in digits that people need not read elsewhere
            need, have = f"{self.need:,.12g} {self.unit}", f"{self.have:,.12g} {self.unit}"
        return f"{self.what} ({self.where}): needs {need}, has {have}{advice}"


class DoesNotFit(CoevoError):
    """Carries a `Violation` up to the function that promised to return it; never shown to a user as an exception."""

    def __init__(self, violation: Violation) -> None:
        self.violation = violation
        super().__init__(str(violation))


def _clipped(text: str) -> str:
    """What came in may be of any length; what people read may not."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def invalid(where: object, error: Exception, field: str = "", kind: Any = None) -> InputError:
    """A msgspec complaint as an `InputError`: its field (as msgspec says it, unless given), what was expected and got.

    kind: the type that was expected of the whole, to tell the choices where there are some.
    """
    message, _, path = str(error).partition(" - at ")
    field = field or path.strip("`").removeprefix("$").lstrip(".")
    if message.startswith(_MISSING):
        return InputError(where, field, f"a field {message.removeprefix(_MISSING)}", "none")
    choices = choices_at(kind, path.strip("`")) if kind is not None and message.startswith(_NO_CHOICE) else []
    if choices:
        got = message.removeprefix(_NO_CHOICE)
        return InputError(where, field, listed(choices), got, near(got.strip("'"), choices))
    if not message.startswith("Expected "):
        return InputError(where, field, "a valid value", message)
    expected, _, got = message.removeprefix("Expected ").partition(", got ")
    return InputError(where, field, expected, got or "a value outside of that")


def listed(names: Collection[str]) -> str:
    """Several names to choose from: "a, b or c"."""
    *others, last = names or ("nothing",)
    return f"{', '.join(others)} or {last}" if others else last


def near(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`, "" where no known one is like it."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {found[0]!r}?" if found else ""


def refuse_other(where: object, field: str, name: str, known: Collection[str]) -> None:
    """Raise InputError, with all that may stand there and the near one, for a `name` that is none of them."""
    if name not in known:
        raise InputError(where, field, listed(known), repr(name), near(name, known))


def suggestion(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`: the nearest known one, or the list of them."""
    choices = sorted(known)
    return near(name, choices) or f"known: {', '.join(choices)}"
