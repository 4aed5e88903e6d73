"""Can a command do a part of what an operator does?

A tile has less of the padding and fewer groups, and whichever dataflow is quickest; a block of neighbouring outputs, made at once,
has a larger kernel and takes larger steps. Sums may be made in parts, which are handed on as they are; then the tail is a command of
its own. All else is the operator's: what it is, its formats, and its tail.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from nas.ir.command import Attributes, Conv, Eltwise, Matmul, Pool, Tail, Window
from nas.ir.program import Function
from nas.ir.tensor import sums_format


def is_part(attributes: Attributes, function: Function) -> bool:
    """Whether a command with `attributes` can do a part of what an operator with `function` does."""
    return _is_tile_of(attributes, function) or any(_is_tile_of(attributes, each) for each in _in_parts(function))


def _in_parts(function: Function) -> Iterator[Function]:
    """What an operator comes to whose sums are made in parts: the first sums, those that are added to them, the tail, and its pool."""
    if isinstance(function, Conv | Matmul):
        sums, tail = sums_format(function.input, function.weight), function.tail
        yield replace(function, tail=Tail(output=sums))
        yield replace(function, tail=Tail(add=sums, output=sums))
        yield Eltwise(sums, replace(tail, pool=None))
        if tail.pool is not None:
            yield Pool("max", tail.pool, True, tail.output, tail.output)


def _is_tile_of(attributes: Attributes, function: Function) -> bool:
    if isinstance(attributes, Conv) and isinstance(function, Conv):
        if min(function.window.stride) < 1:
            return False  # nobody has judged the operators
        blocks = _as_blocks(function.window, attributes.window.stride)
        fits = _is_tile(attributes.window, blocks) and attributes.groups <= function.groups
        if not fits or not _is_tile(attributes.tail.pool, function.tail.pool):
            return False
    elif (
        isinstance(attributes, Pool) and isinstance(function, Pool) and not _is_tile(attributes.window, function.window)
    ):
        return False
    return _as_a_whole(attributes) == _as_a_whole(function)


def _is_tile(window: Window | None, whole: Window | None) -> bool:
    """Whether the window of a tile is that of the whole, with no more padding."""
    if window is None or whole is None:
        return window is whole
    less = all(mine <= theirs for mine, theirs in zip(window.padding, whole.padding, strict=True))
    return less and replace(window, padding=whole.padding) == whole


def _as_blocks(window: Window, stride: tuple[int, int]) -> Window:
    """The window that takes steps of `stride` and sees in each all that the steps of `window` see on the way; the last one
    may see further out.
    """
    top, left, bottom, right = window.padding
    (rows, down, below), (columns, across, beside) = (
        (size + (far // near - 1) * near, far // near * near, far - near if far > near else 0)
        for far, near, size in zip(stride, window.stride, window.kernel, strict=True)
    )
    return replace(
        window, kernel=(rows, columns), stride=(down, across), padding=(top, left, bottom + below, right + beside)
    )


def _as_a_whole(function: Attributes | Function) -> Attributes | Function:
    """A function without what differs from tile to tile."""
    if isinstance(function, Pool):
        return replace(function, window=Window())
    if not isinstance(function, Conv | Matmul):
        return function
    whole = replace(function, dataflow="lanes", tail=replace(function.tail, pool=None))
    return replace(whole, window=Window(), groups=1) if isinstance(whole, Conv) else whole
