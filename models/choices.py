"""A complaint of msgspec about a description -> one that says what may stand there, with the near name."""

import difflib
import re
from typing import Any

import msgspec
from msgspec import inspect

_COMPLAINT = re.compile(r"Invalid enum value (?P<got>.+) - at `\$\.(?P<path>.+)`")


def complaint(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> str:
    """What is wrong with a description of `kind`, in words."""
    found = _COMPLAINT.fullmatch(str(error))
    choices = _choices(kind, re.findall(r"[a-z_]\w*", found["path"])) if found else []
    if found is None or not choices:
        return str(error)
    near = difflib.get_close_matches(found["got"].strip("'"), choices, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{found['path']}: expected {', '.join(choices[:-1])} or {choices[-1]}, got {found['got']}{hint}"


def _choices(kind: Any, fields: list[str]) -> list[str]:
    """The words that the field of a field ... of `kind` may be; a list has the fields of its items."""
    node = inspect.type_info(kind)
    for name in fields:
        while isinstance(node, inspect.ListType | inspect.VarTupleType):
            node = node.item_type
        inside = (
            [each.type for each in node.fields if each.encode_name == name]
            if isinstance(node, inspect.StructType)
            else []
        )
        if not inside:
            return []
        node = inside[0]
    return [str(value) for value in node.values] if isinstance(node, inspect.LiteralType) else []
