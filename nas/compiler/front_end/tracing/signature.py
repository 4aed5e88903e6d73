"""The arguments of a call of a torch function by their names."""

import ast
from functools import lru_cache
from typing import Any

from nas.compiler.front_end.tracing.calls import Call


class Arguments:
    """The arguments of a call by the names and in the order of `signature`: "input weight bias=None"."""

    def __init__(self, call: Call, signature: str) -> None:
        given = call.arguments
        for position, (name, default) in enumerate(_parsed(signature)):
            self.__dict__[name] = given[position] if position < len(given) else call.keywords.get(name, default)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the signature has no {name!r}")


@lru_cache
def _parsed(signature: str) -> tuple[tuple[str, Any], ...]:
    """Each name with its default; None where there is none."""
    words = (word.partition("=") for word in signature.split())
    return tuple((name, ast.literal_eval(default) if default else None) for name, _, default in words)
