"""Functions and modules that are made of others: their definitions, which a trace goes into.

torch computes each by one function, in kernels of its own; engines know the steps. A maker of this table has the signature of its
function, and gives what does the same by simpler functions, or None where nothing does; then the function stays as it is.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from nas.compiler.front_end.definitions import attention, combined, einsum, rearranged, transposed

Definition = Callable[[], Any]

_MAKERS: dict[Any, Callable[..., Definition | None]] = {
    **attention.MAKERS,
    **combined.MAKERS,
    **einsum.MAKERS,
    **rearranged.MAKERS,
    **transposed.MAKERS,
}


def definition_of(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_value: Callable[[Tensor], bool]
) -> Definition | None:
    """What does this call of a function by simpler ones; None where nothing does.

    is_value: whether a tensor depends on the input. Places that do are no places that a trace can follow.
    """
    make = _MAKERS.get(function)
    if make is None or any(is_value(each) and not each.is_floating_point() for each in _tensors(args, kwargs)):
        return None
    try:
        return make(*args, **kwargs)
    except (TypeError, ValueError, LookupError):
        return None  # torch says what is wrong with the arguments


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    for each in (*args, *kwargs.values()):
        for item in each if isinstance(each, tuple | list) else (each,):
            if isinstance(item, Tensor):
                yield item


def module_definition(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Definition | None:
    """As `definition_of`, of the forward of a module."""
    if type(module) is not nn.MultiheadAttention or _has_hooks(module) or _has_hooks(module.out_proj):
        return None  # of the second, torch reads the weights and never calls it
    return partial(attention.multi_head, module, given) if (given := attention.usual(module, args, kwargs)) else None


def _has_hooks(module: nn.Module) -> bool:
    """Whether others are called along with `module`, or with all modules."""
    of_all = nn.modules.module
    own = module._forward_hooks or module._forward_pre_hooks
    return bool(own or of_all._global_forward_hooks or of_all._global_forward_pre_hooks)
