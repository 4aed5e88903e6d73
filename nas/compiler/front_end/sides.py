"""torch's "one number, or one for each axis" as one for each."""

from typing import Any


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """So many numbers, of one or of as many."""
    items = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(int(item) for item in (items * count if len(items) == 1 else items))


def pair(value: Any) -> tuple[int, int]:
    """Rows and columns."""
    rows, columns = per_axis(value, 2)
    return rows, columns
