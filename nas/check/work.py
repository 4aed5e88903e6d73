"""Rules: inputs and outputs are those of the network; what a command computes is what an operator of its layer computes.

A tile has less of the padding and fewer groups, and whichever dataflow is quickest; a block of neighbouring outputs, made at once,
has a larger kernel and takes larger steps. All else is the operator's: what it is, its formats, and its tail. A program
that tells no operators, or none of a layer, is not asked.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from nas.check.rule import Place
from nas.check.subject import Subject
from nas.ir.command import Attributes, Conv, Copy, Load, Matmul, Pool, Store, Window
from nas.ir.program import Function, Program
from nas.ir.tensor import Format


def operator(subject: Subject) -> Iterator[Place]:
    """Every command that computes does the work of an operator of its layer."""
    functions: dict[str, list[Function]] = {}
    for each in subject.program.operators if isinstance(subject.program, Program) else ():
        functions.setdefault(each.layer, []).append(each.function)
    # Most tiles of a layer share their attributes, which take long to compare.
    known: dict[tuple[str, int], bool] = {}
    for index, command in enumerate(subject.commands):
        if command.layer not in functions or isinstance(command.attributes, Load | Store | Copy):
            continue
        key = command.layer, id(command.attributes)
        if key not in known:
            known[key] = any(_is_part(command.attributes, function) for function in functions[command.layer])
        if not known[key]:
            yield subject.place(index), f"no operator of the layer does this {command.op}: {command.attributes}"


def tensors(subject: Subject) -> Iterator[Place]:
    """The bound inputs and outputs are the network's, each once, in shape and format."""
    known = subject.program.tensors if isinstance(subject.program, Program) else ()
    if not known:
        return
    expected: dict[tuple[str, str], tuple[tuple[int, ...], Format]] = {}
    for tensor in known:
        if tensor.role in ("input", "output"):
            expected[tensor.role, tensor.name] = tensor.shape, tensor.format
    bound = {
        (part, each.name): (each.region.shape, each.format) for part, each in subject.bindings() if part != "constant"
    }
    for part, name in {**expected, **bound}:
        wanted, got = expected.get((part, name), "nothing"), bound.get((part, name), "nothing")
        if wanted != got:
            yield f"{part} {name}", f"expected the network's {wanted}, got {got}"


def _is_part(attributes: Attributes, function: Function) -> bool:
    """Whether a command with `attributes` can do a part of what an operator with `function` does."""
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
