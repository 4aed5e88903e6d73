"""A type and a place in it, as msgspec's complaints name it -> the words that may stand there."""

import re
from typing import Any

from msgspec import inspect

_PLAIN = ((inspect.BoolType, "true"), (inspect.BoolType, "false"), (inspect.NoneType, "null"))
_STEP = re.compile(r"\.(?P<field>\w+)|\[[^\]]*\]")


def choices_at(kind: Any, path: str) -> list[str]:
    """The words that `kind` allows at `path`, such as `$.stages[0].block`; none where that is no choice."""
    nodes = _unfolded(inspect.type_info(kind))
    for step in _STEP.finditer(path):
        nodes = [inner for node in nodes for inner in _inside(node, step["field"])]
    words = [str(value) for node in nodes if isinstance(node, inspect.LiteralType) for value in node.values]
    other = [word for node in nodes for each, word in _PLAIN if isinstance(node, each)]
    return words + other if words else []


def _inside(node: inspect.Type, field: str | None) -> list[inspect.Type]:
    if isinstance(node, inspect.StructType | inspect.DataclassType):
        return [inner for each in node.fields if each.encode_name == field for inner in _unfolded(each.type)]
    if isinstance(node, inspect.DictType):
        return _unfolded(node.value_type)
    if isinstance(node, inspect.ListType | inspect.VarTupleType):
        return _unfolded(node.item_type)
    return []


def _unfolded(node: inspect.Type) -> list[inspect.Type]:
    """The types of a union; what is said about a type is left out."""
    if isinstance(node, inspect.Metadata):
        return _unfolded(node.type)
    if isinstance(node, inspect.UnionType):
        return [inner for each in node.types for inner in _unfolded(each)]
    return [node]
