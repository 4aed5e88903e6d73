"""The arguments of a call of a torch function by their names."""

from typing import Any

from nas.compiler.front_end.trace import Call


class Arguments:
    """The arguments of a call by the names and in the order of `signature`: "input weight bias=None"."""

    def __init__(self, call: Call, signature: str) -> None:
        self._values: dict[str, Any] = {}
        for position, word in enumerate(signature.split()):
            name, _, default = word.partition("=")
            if position < len(call.arguments):
                self._values[name] = call.arguments[position]
            elif name in call.keywords:
                self._values[name] = call.keywords[name]
            else:
                self._values[name] = {"None": None, "True": True, "False": False, "": None}.get(default, default)
                if isinstance(self._values[name], str):
                    self._values[name] = float(default) if "." in default else int(default)

    def __getattr__(self, name: str) -> Any:
        return self._values[name]


def pair(value: Any) -> tuple[int, int]:
    """torch's "one number or two" as two."""
    items = tuple(value) if isinstance(value, tuple | list) else (value,)
    return (int(items[0]), int(items[-1]))
