"""Arguments of functions as they come: tensors in lists, tuples and mappings, however deep."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch

_NESTS = (list, tuple, Mapping)
_Kind = TypeVar("_Kind")


def tensors_in(structure: Any) -> list[torch.Tensor]:
    """The tensors of a nest, in their order."""
    return found_in(structure, torch.Tensor)


def found_in(structure: Any, kind: type[_Kind]) -> list[_Kind]:
    """What a nest holds of a kind, in its order."""
    if isinstance(structure, kind):
        return [structure]
    items = structure.values() if isinstance(structure, Mapping) else structure
    return [part for item in items for part in found_in(item, kind)] if isinstance(structure, _NESTS) else []


def on_meta(structure: Any) -> Any:
    """The same arguments with every constant tensor replaced by its shape."""
    if isinstance(structure, torch.Tensor):
        return structure if structure.device.type == "meta" else torch.empty_like(structure, device="meta")
    if isinstance(structure, torch.device):
        return torch.device("meta")
    if isinstance(structure, tuple):
        return tuple(on_meta(item) for item in structure)
    if isinstance(structure, list):
        return [on_meta(item) for item in structure]
    if isinstance(structure, dict):
        return {name: on_meta(item) for name, item in structure.items()}
    return structure


def on_cpu(structure: Any) -> Any:
    """The same arguments with every mention of the meta device replaced: "where the input is" is here."""
    if isinstance(structure, torch.device):
        return torch.device("cpu") if structure.type == "meta" else structure
    if isinstance(structure, tuple | list) and type(structure) in (tuple, list):
        return type(structure)(on_cpu(item) for item in structure)
    if isinstance(structure, dict):
        return {name: on_cpu(item) for name, item in structure.items()}
    return structure
