"""A valid file -> files that are damaged, truncated, or made to hurt: bytes flipped, values swapped, numbers beyond all sense.

Everything is drawn from the generator that is handed in.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

HOSTILE: tuple[Any, ...] = (
    -1, 0, 1, 3, 2**31, 2**63, 2**64, 10**18, -(10**18), 10**40, 1.5, 1e308, float("nan"), float("inf"), "", "x", "dram",
    "sram", "9" * 500, "\x00\ud7ff", [], [[]], {}, {"op": "conv"}, {"op": "load"}, None, True, False, [0] * 300, [10**18] * 4,
)  # fmt: skip
_NUMBER = re.compile(r"-?\d+")


def damaged(data: bytes, generator: np.random.Generator) -> bytes:
    """`data` with a few bytes changed, cut out, doubled or brought in."""
    text = bytearray(data)
    for _ in range(int(generator.integers(1, 4))):
        start = int(generator.integers(len(text) + 1))
        stop = min(len(text), start + int(generator.choice([1, 2, 10, 200])))
        kind = int(generator.integers(6))
        if kind == 0:
            text[start:stop] = b""
        elif kind == 1:
            text[start:start] = text[start:stop]
        elif kind == 2:
            text[start:stop] = generator.integers(0, 256, stop - start, dtype=np.uint8).tobytes()
        elif kind == 3:
            del text[start:]
        elif kind == 4 and start < len(text):
            text[start] ^= 1 << int(generator.integers(8))
        else:
            token = [b"[", b"{", b'"', b"-", b"9" * 30, b"1e999", b"NaN", b"\\u0000", b"[" * 5000, b"null"]
            text[start:start] = token[int(generator.integers(len(token)))]
    return bytes(text)


class Tree:
    """A JSON document of which any node can be replaced; the document itself stays as it is.

    parts: of the document's value, in which alone nodes are replaced; none: anywhere.
    """

    def __init__(self, data: bytes, parts: tuple[str, ...] = ()) -> None:
        self.document = json.loads(data)
        whole = [self.document] if not parts else [self.document["value"][part] for part in parts]
        self._places = [place for each in whole for place in _places(each)]

    def mutated(self, generator: np.random.Generator) -> bytes:
        """The document with one to three nodes replaced, removed, doubled, swapped or made negative."""
        undo: list[tuple[Any, Any, Any]] = []
        for _ in range(int(generator.integers(1, 4))):
            parent, key = self._places[int(generator.integers(len(self._places)))]
            if (isinstance(parent, list) and key >= len(parent)) or (isinstance(parent, dict) and key not in parent):
                continue
            undo.append((parent, key, copy.copy(parent)))
            self._mutate(parent, key, generator)
        text = json.dumps(self.document)
        for parent, _, before in reversed(undo):
            parent.clear()
            parent.update(before) if isinstance(parent, dict) else parent.extend(before)
        if generator.integers(8) == 0:
            text = _with_a_key_twice(text, generator)
        return text.encode()

    def _mutate(self, parent: Any, key: Any, generator: np.random.Generator) -> None:
        kind = int(generator.integers(7))
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(key, parent[key])
        elif kind == 2:
            other, other_key = self._places[int(generator.integers(len(self._places)))]
            if isinstance(other, list | dict) and (
                other_key in other if isinstance(other, dict) else other_key < len(other)
            ):
                parent[key] = copy.deepcopy(other[other_key])
        elif kind == 3 and isinstance(parent[key], int):
            parent[key] = int(parent[key]) + int(generator.choice([-1000, -2, -1, 1, 2, 64]))
        elif kind == 4 and isinstance(parent, dict):
            parent[str(generator.choice(["unknown", "op", "layer", "", "strides "]))] = parent[key]
        else:
            parent[key] = HOSTILE[int(generator.integers(len(HOSTILE)))]


def mutated_text(text: str, generator: np.random.Generator) -> str:
    """Assembly with lines dropped, doubled or swapped, and numbers and words replaced."""
    lines = text.split("\n")
    for _ in range(int(generator.integers(1, 4))):
        at, kind = int(generator.integers(len(lines))), int(generator.integers(6))
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(at, lines[int(generator.integers(len(lines)))])
        elif kind == 2:
            found = list(_NUMBER.finditer(lines[at]))
            if found:
                match = found[int(generator.integers(len(found)))]
                number = str(HOSTILE[int(generator.integers(12))])
                lines[at] = lines[at][: match.start()] + number + lines[at][match.end() :]
        elif kind == 3:
            lines[at] = lines[at][: int(generator.integers(len(lines[at]) + 1))]
        elif kind == 4:
            lines[at] = damaged(lines[at].encode(), generator).decode(errors="replace")
        else:
            words = lines[at].split(" ")
            other = lines[int(generator.integers(len(lines)))].split(" ")
            words[int(generator.integers(len(words)))] = other[int(generator.integers(len(other)))]
            lines[at] = " ".join(words)
    return "\n".join(lines)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys:
        yield value, key
        if isinstance(value[key], list | dict):
            yield from _places(value[key])


def _with_a_key_twice(text: str, generator: np.random.Generator) -> str:
    found = [match.end() for match in re.finditer(r'"[a-z_]+": ', text)]
    at = found[int(generator.integers(len(found)))]
    key = text[: at - 2].rpartition('"')[0].rpartition('"')[2]
    return f'{text[:at]}[], "{key}": {text[at:]}'
