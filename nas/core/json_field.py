"""JSON that does not fit its type -> the exact field that is at fault, such as `commands[12].reads[0].strides`.

msgspec says `$.commands[...].reads[...].strides`: which field, but not of which element. The way is walked again, one level
at a time, and at each list the first element that cannot be read is the one meant.
"""

import re
import types
import typing
from functools import lru_cache
from typing import Any

import msgspec

_STEP = re.compile(r"\.([^.\[`]+)|\[(\.\.\.|\d+)\]")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_Raws = dict[str, msgspec.Raw] | list[msgspec.Raw]


def exact_field(data: bytes | msgspec.Raw, kind: Any) -> str:
    """Where in `data` the first value lies that keeps it from being read as `kind`; "" if it is the whole."""
    field = ""
    while True:
        step = _first_step(data, kind)
        if step is None:
            return field.removeprefix(".")
        name, index = step
        try:
            inside = msgspec.json.decode(data, type=dict[str, msgspec.Raw] if name else _Raws)
        except _UNREADABLE:
            return field.removeprefix(".")
        found = _culprit(inside, kind, name, index)
        if found is None:
            return (field + (f".{name}" if name else "")).removeprefix(".")
        key, data, kind = found
        field += f".{name}" if name else f"[{key}]"


def _first_step(data: bytes | msgspec.Raw, kind: Any) -> tuple[str, str] | None:
    """The first step of msgspec's way to the fault: the name of a field, or what stands in brackets."""
    try:
        msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        match = _STEP.match(str(error).rpartition(" - at `$")[2]) if " - at `$" in str(error) else None
        return (match[1] or "", match[2] or "") if match else None
    except _UNREADABLE:
        return None  # the value could be read but for what lies further in, which is no text at all
    return None


def _culprit(inside: _Raws, kind: Any, name: str, index: str) -> tuple[str, msgspec.Raw, Any] | None:
    """(key, value, type) of the element that the step leads to."""
    if name and isinstance(inside, dict):
        kinds = {field.encode_name: field.type for struct in _structs(kind, inside) for field in _fields(struct)}
        return (name, inside[name], kinds[name]) if name in kinds and name in inside else None
    items = inside.items() if isinstance(inside, dict) else enumerate(inside)
    for key, value in items:
        inner = _item_type(kind, key)
        if inner is not None and index in ("...", str(key)) and not _fits(value, inner):
            return (str(key), value, inner)
    return None


def _fits(value: msgspec.Raw, kind: Any) -> bool:
    try:
        msgspec.json.decode(value, type=kind)
    except _UNREADABLE:
        return False
    return True


@lru_cache(maxsize=256)
def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def _options(kind: Any) -> tuple[Any, ...]:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def _structs(kind: Any, inside: dict[str, msgspec.Raw]) -> list[type[msgspec.Struct]]:
    """The structs that an object may be read as: of a tagged union the one whose tag it carries."""
    structs = [option for option in _options(kind) if isinstance(option, type) and issubclass(option, msgspec.Struct)]
    if len(structs) < 2:
        return structs
    config = structs[0].__struct_config__
    tag = inside.get(str(config.tag_field))
    return [
        struct
        for struct in structs
        if tag is not None and bytes(tag) == msgspec.json.encode(struct.__struct_config__.tag)
    ]


def _item_type(kind: Any, key: int | str) -> Any:
    """The type of an element of a list, a tuple or a mapping; None if `kind` is nothing of that sort."""
    for option in _options(kind):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if isinstance(key, str):
            if origin is dict:
                return arguments[1]
        elif origin is list or (origin is tuple and arguments[-1:] == (Ellipsis,)):
            return arguments[0]
        elif origin is tuple and key < len(arguments):
            return arguments[key]
    return None
