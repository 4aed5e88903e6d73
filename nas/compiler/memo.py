"""What has been worked out before: answers of pure functions by their arguments, so by content and never by identity.

Whoever compiles many networks that resemble each other keeps one `Memo` and hands it on. What it remembers is exactly what
the function would give again; it is bounded, and forgets what was asked longest ago.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar, TypeVarTuple

_Arguments = TypeVarTuple("_Arguments")
_Answer = TypeVar("_Answer")

_ANSWERS = 1 << 14
_LATELY = 8


class Memo:
    """answers: how many are kept of each function."""

    def __init__(self, answers: int = _ANSWERS) -> None:
        self._answers = answers
        self._known: dict[Any, Any] = {}
        self._under: OrderedDict[Hashable, Any] = OrderedDict()
        self._lately: deque[tuple[Any, Any, Any]] = deque(maxlen=_LATELY)

    def of(self, function: Callable[[*_Arguments], _Answer], *arguments: *_Arguments) -> _Answer:
        """function(*arguments), worked out now or before. The function is pure, its arguments and answer never change."""
        known = self._known.get(function)
        if known is None:
            known = self._known[function] = lru_cache(self._answers)(function)
        answer: _Answer = known(*arguments)
        return answer

    def lately(self, function: Callable[[*_Arguments], _Answer], *arguments: *_Arguments) -> _Answer:
        """As `of`, for arguments that are too large to be kept, or hashed, for long: only those last asked for are."""
        asked = ((known, given) == (function, arguments) for known, given, _ in self._lately)
        place = next((place for place, again in enumerate(asked) if again), None)
        found: _Answer = function(*arguments) if place is None else self._lately[place][2]
        if place is not None:
            del self._lately[place]
        self._lately.append((function, arguments, found))
        return found

    def under(self, key: Hashable, make: Callable[[], _Answer]) -> _Answer:
        """make(), worked out now or before under `key`: all that the answer depends on, or a digest of it where that is
        too large to be kept.
        """
        if key in self._under:
            self._under.move_to_end(key)
        else:
            self._under[key] = make()
            if len(self._under) > self._answers:
                self._under.popitem(last=False)
        answer: _Answer = self._under[key]
        return answer

    def __reduce__(self) -> tuple[type["Memo"], tuple[int]]:
        """Another process starts without memories."""
        return Memo, (self._answers,)
