"""Functions and modules that are made of others: their definitions, which a trace goes into.

torch computes each by one function, in kernels of its own; engines know the steps. A maker of this table has the signature of its
function, and gives what does the same by simpler functions, or None where nothing does; then the function stays as it is.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from nas.compiler.front_end.definitions import attention, combined, einsum, rearranged, transposed

Definition = Callable[[], Any]

_MAKERS: dict[Any, Callable[..., Definition | None]] = {
    **attention.MAKERS,
    **combined.MAKERS,
    **einsum.MAKERS,
    **rearranged.MAKERS,
    **transposed.MAKERS,
}


def definition_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Definition | None:
    """What does this call of a function by simpler ones; None where nothing does."""
    make = _MAKERS.get(function)
    if make is None:
        return None
    try:
        return make(*args, **kwargs)
    except (TypeError, ValueError, LookupError):
        return None  # torch says what is wrong with the arguments


def module_definition(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Definition | None:
    """As `definition_of`, of the forward of a module."""
    if type(module) is not nn.MultiheadAttention:
        return None
    return partial(attention.multi_head, module, given) if (given := attention.usual(module, args, kwargs)) else None
