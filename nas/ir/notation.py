"""Plain data <-> one line of text: what the assembly of `nas.ir.text` is written in.

words       relu, stem.conv; anything that could be mistaken for something else stands in JSON quotes
numbers     12, 0.05, inf
constants   true, false, null
groups      {key=value key=value} and [value, value]
regions     sram[0x400: 16x32x32 @8], and with strides that are not those of a dense tensor
            sram[0x400: 16x5x32 / 1024x32x1 @8]
"""

import json
import re
from collections.abc import Mapping

from nas.ir.tensor import Region, row_strides

Plain = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_CONSTANTS: dict[str, bool | float | None] = {
    "true": True,
    "false": False,
    "null": None,
    "inf": float("inf"),
    "nan": float("nan"),
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:[^"\\]|\\.)*")
      | (?P<number>[+-]inf\b|[+-]?(?:(?:0x[0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)))
      | (?P<word>[A-Za-z_][A-Za-z0-9_.\-]*)
      | (?P<mark>->|[{}\[\]=,:;/@()])
    )""",
    re.VERBOSE,
)
_SIZES = re.compile(r"-?[0-9]+(?:x-?[0-9]+)*")
_INTEGER = re.compile(r"[+-]?(?:0x[0-9a-fA-F]+|0|[1-9][0-9]*)")
_DEPTH = 64
_LONGEST = 4000


class NotationError(ValueError):
    """Text that does not follow the notation; the message says what was expected and what was found."""


def name_text(name: str) -> str:
    """A word as it is, any other string in quotes."""
    return name if _WORD.fullmatch(name) and name not in _CONSTANTS else json.dumps(name)


def plain_text(value: object) -> str:
    """Plain data (what msgspec makes of a struct) as text."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return name_text(value)
    if isinstance(value, Mapping):
        return "{" + " ".join(f"{name_text(str(key))}={plain_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain_text, value)) + "]"
    raise TypeError(f"expected plain data, got {type(value).__name__}")


def region_text(region: Region) -> str:
    """A region; its strides only where they are not those of a dense tensor."""
    shape = "x".join(map(str, region.shape))
    strides = "x".join(map(str, region.strides))
    middle = shape if region.strides == _dense_strides(region.shape, region.bits) else f"{shape} / {strides}"
    return f"{name_text(region.memory)}[{region.offset_bytes:#x}: {middle} @{region.bits}]"


def _dense_strides(shape: tuple[int, ...], bits: int) -> tuple[int, ...]:
    return row_strides(shape, bits) if shape and bits > 0 else ()


class Reader:
    """Reads one line from left to right; every method takes what it names or raises `NotationError`."""

    def __init__(self, line: str) -> None:
        self._line, self._at = line, 0

    def at_end(self) -> bool:
        return not self._line[self._at :].strip()

    def sees(self, mark: str) -> bool:
        """Whether `mark` comes next."""
        match = _TOKEN.match(self._line, self._at)
        return match is not None and match["mark"] == mark

    def takes(self, mark: str) -> bool:
        """Take `mark` if it comes next."""
        seen = self.sees(mark)
        if seen:
            self.expect(mark)
        return seen

    def expect(self, mark: str) -> None:
        self._token(repr(mark), "mark", mark)

    def name(self) -> str:
        """A word or a quoted string."""
        start = self._at
        match = _TOKEN.match(self._line, self._at)
        if match is None or not (match["quoted"] or match["word"]):
            raise self._wrong("a name", start)
        self._at = match.end()
        return self._unquoted(match["quoted"], start) if match["quoted"] else str(match["word"])

    def integer(self) -> int:
        start = self._at
        value = self._number(self._token("an integer", "number"), start)
        if not isinstance(value, int):
            raise self._wrong("an integer", start)
        return value

    def sizes(self) -> tuple[int, ...]:
        """Integers with an x between them; none at all is a shape without axes."""
        if self.sees("/") or self.sees("@"):
            return ()
        blank = len(self._line) - len(self._line[self._at :].lstrip())
        match = _SIZES.match(self._line, blank)
        if match is None or len(match[0]) > _LONGEST:
            raise self._wrong("sizes such as 16x32", self._at)
        self._at = match.end()
        return tuple(int(size) for size in match[0].split("x"))

    def region(self) -> Region:
        memory = self.name()
        self.expect("[")
        offset_bytes = self.integer()
        self.expect(":")
        shape = self.sizes()
        strides = self.sizes() if self.takes("/") else None
        self.expect("@")
        bits = self.integer()
        self.expect("]")
        return Region(memory, offset_bytes, shape, _dense_strides(shape, bits) if strides is None else strides, bits)

    def plain(self, depth: int = 0) -> Plain:
        """Any value."""
        if depth > _DEPTH:
            raise NotationError(f"expected at most {_DEPTH} groups within each other")
        if self.takes("["):
            items: list[Plain] = []
            while not self.takes("]"):
                if items:
                    self.expect(",")
                items.append(self.plain(depth + 1))
            return items
        if self.sees("{"):
            return self.mapping(depth)
        start = self._at
        match = _TOKEN.match(self._line, self._at)
        if match is None or match["mark"]:
            raise self._wrong("a value", start)
        self._at = match.end()
        if match["quoted"]:
            return self._unquoted(match["quoted"], start)
        if match["number"]:
            return self._number(match["number"], start)
        word = str(match["word"])
        return _CONSTANTS.get(word, word)

    def mapping(self, depth: int = 0) -> dict[str, Plain]:
        """{key=value key=value}."""
        self.expect("{")
        items: dict[str, Plain] = {}
        while not self.takes("}"):
            key = self.name()
            if key in items:
                raise NotationError(f"expected every key once, got {key!r} again")
            self.expect("=")
            items[key] = self.plain(depth + 1)
        return items

    def finish(self) -> None:
        """Nothing may be left."""
        if not self.at_end():
            raise self._wrong("the end of the line", self._at)

    def _token(self, what: str, kind: str, exactly: str | None = None) -> str:
        match = _TOKEN.match(self._line, self._at)
        if match is None or not match[kind] or (exactly is not None and match[kind] != exactly):
            raise self._wrong(what, self._at)
        self._at = match.end()
        return str(match[kind])

    def _number(self, text: str, start: int) -> int | float:
        if len(text) > _LONGEST:
            raise self._wrong(f"a number of at most {_LONGEST} characters", start)
        return int(text, 0) if _INTEGER.fullmatch(text) else float(text)

    def _unquoted(self, text: str, start: int) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            raise self._wrong("a string in quotes", start) from None

    def _wrong(self, what: str, start: int) -> NotationError:
        rest = self._line[start:].strip()
        return NotationError(
            f"expected {what}, got {rest[:40]!r}" if rest else f"expected {what}, got the end of the line"
        )
