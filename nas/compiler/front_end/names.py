"""The functions of torch by their dotted names, and the names of functions."""

from typing import Any

import torch
from torch.overrides import resolve_name


def torch_functions(*names: str) -> list[Any]:
    """The torch functions of these dotted names; a name that this torch lacks is left out."""
    found = []
    for name in names:
        owner: Any = torch
        for part in name.split("."):
            owner = getattr(owner, part, None)
        if owner is not None:
            found.append(owner)
    return found


def short_name(function: Any) -> str:
    """The last part of `function_name`, without torch's table of all functions where that can be (it takes 30 ms)."""
    own = getattr(function, "__name__", "")
    if any(getattr(owner, own, None) is function for owner in (torch.Tensor, torch, torch.nn.functional)):
        return str(own)
    return function_name(function).rsplit(".", 1)[-1]


def function_name(function: Any) -> str:
    """The public name of a torch function, such as "torch.nn.functional.gelu"."""
    name = resolve_name(function)
    return name or getattr(function, "__qualname__", repr(function))
