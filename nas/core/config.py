"""OmegaConf or plain mappings -> frozen, validated types. Configuration stops at this door.

Behind it nobody sees a dictionary: a typed value goes in (a `msgspec.Struct` or a dataclass), an unknown key is an
`InputError` that suggests the near one, and a wrong type names its field.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nas.core.errors import InputError, invalid, suggestion

Config = TypeVar("Config")
_MOST_VALUES, _DEEPEST = 100_000, 64


def from_config(config: DictConfig | Mapping[str, Any], kind: type[Config], where: object) -> Config:
    """`config` as a value of the type `kind`; `where` (a file or a group of keys) goes into the errors."""
    plain = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else dict(config)
    _refuse_unknown(plain, kind, str(where))
    try:
        return msgspec.convert(plain, kind, strict=True)
    except msgspec.ValidationError as error:
        raise invalid(where, error, kind=kind) from error


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; anything else is an `InputError`."""
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_endless(text, path)
        content = OmegaConf.to_container(OmegaConf.load(StringIO(text)), resolve=True)
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(path, "", "a readable YAML file", str(error)) from error
    if not isinstance(content, dict):
        raise InputError(path, "", "a mapping of keys", type(content).__name__)
    return {str(key): value for key, value in content.items()}


def _refuse_endless(text: str, where: object) -> None:
    """Raise for values too deep to be read, and for aliases that stand for themselves or, written out, for too much."""
    values, amounts = 0, dict[str, int]()
    around: list[tuple[str | None, int]] = []  # the anchors of what is open, and how many values there were before
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in around):
                raise InputError(where, f"*{event.anchor}", "a value without itself in it", "one that stands in itself")
            values += amounts.get(event.anchor or "", 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = around.pop()
            amounts[anchor or ""] = values - before
        elif isinstance(event, yaml.NodeEvent):
            values += 1
            if isinstance(event, yaml.CollectionStartEvent):
                around.append((event.anchor, values - 1))
            else:
                amounts[event.anchor or ""] = 1
        if values > _MOST_VALUES or len(around) > _DEEPEST:
            raise InputError(where, "", f"{_MOST_VALUES} values at most, {_DEEPEST} deep", "more")


def _refuse_unknown(value: object, kind: Any, where: str) -> None:
    """Raise for the first key, at any depth, that `kind` has no field for."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            for inner in typing.get_args(kind):
                _refuse_unknown(item, inner, f"{where}[{index}]")
        return
    if not isinstance(value, Mapping):
        return
    members = _members(kind, value)
    if members is None:
        return
    known = {field.encode_name: field.type for field in members}
    tag = getattr(getattr(kind, "__struct_config__", None), "tag_field", None)
    for key, item in value.items():
        if key == tag:
            continue
        if key not in known:
            raise InputError(where, str(key), "a known key", "an unknown one", suggestion(str(key), known))
        _refuse_unknown(item, known[key], f"{where}.{key}")


class _Field(typing.NamedTuple):
    encode_name: str
    type: Any


def _members(kind: Any, value: Mapping[str, Any]) -> list[_Field] | None:
    """The fields of `kind`, or None where any key may stand (a plain mapping)."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for option in typing.get_args(kind):
            config = getattr(option, "__struct_config__", None)
            tagged = config is not None and config.tag_field and value.get(config.tag_field) == config.tag
            if tagged or (config is None and dataclasses.is_dataclass(option)):
                return _members(option, value)
        structs = [
            option
            for option in typing.get_args(kind)
            if isinstance(option, type) and hasattr(option, "__struct_fields__")
        ]
        return _members(structs[0], value) if len(structs) == 1 else None
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = [_Field(field.encode_name, field.type) for field in msgspec.structs.fields(kind)]
        tag = kind.__struct_config__.tag_field
        return [*fields, _Field(tag, str)] if tag else fields
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return [_Field(field.name, hints[field.name]) for field in dataclasses.fields(kind)]
    return None
