"""The functions of torch by their dotted names, whichever of them this torch has."""

from typing import Any

import torch


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
