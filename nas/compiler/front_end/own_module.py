"""The name of a callable -> the module that it makes: how people have networks compiled that no registry knows."""

import importlib
from typing import Any

from torch import nn

from nas.core.errors import InputError


def own_module(builder: str, *arguments: Any, source: object = "") -> nn.Module:
    """What `builder`, package.module:callable, makes of `arguments`, which came from `source`; ":build" where no callable is named.

    Raises InputError where there is no such callable, where it does not take these arguments, or makes no module.
    """
    module_name, _, attribute = builder.partition(":")
    try:
        make: Any = getattr(importlib.import_module(module_name), attribute or "build")
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError("module", "", "package.module:callable", f"{builder!r}: {error}") from error
    try:
        module = make(*arguments)
    except (
        OSError,
        ValueError,
        TypeError,
        RuntimeError,
        MemoryError,
    ) as error:  # the last two: weights that fit no memory
        raise InputError(
            source or builder, "", "what the callable takes", str(error) or type(error).__name__
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(builder, "", "a callable that returns an nn.Module", type(module).__name__)
    return module
