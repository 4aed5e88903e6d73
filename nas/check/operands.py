"""Rules about the operands of one command: how many, where, in what layout, of what shapes.

Everything here is read off the page of `nas.ir.command`: c, h, w are input channels, rows, columns; n, p, q the output's.
"""

import math

from nas.check.memory import ragged_breach
from nas.ir.command import Command, Conv, Copy, Eltwise, Host, Load, Matmul, Pool, Store, Tail, Window
from nas.ir.tensor import ELEMENT_BITS, Region

_ENGINES = {
    Load: ("dma_in",),
    Store: ("dma_out",),
    Conv: ("matrix", "vector"),
    Matmul: ("matrix", "vector"),
    Eltwise: ("vector",),
    Pool: ("vector",),
    Copy: ("vector",),
    Host: ("host",),
}
_MEMORIES = {Load: ("dram", "sram"), Store: ("sram", "dram"), Host: ("dram", "dram")}
# Whatever is larger cannot lie in any memory, and would not fit into 64-bit arithmetic later on.
LARGEST = 1 << 48


def engine(command: Command) -> str:
    """The engine is one that knows the op."""
    able = _ENGINES[type(command.attributes)]
    return "" if command.engine in able else f"{command.op} runs on {' or '.join(able)}, got {command.engine!r}"


def dataflow(command: Command) -> str:
    """The systolic array keeps weights, outputs or inputs in place; it has no lanes."""
    attributes = command.attributes
    if command.engine == "matrix" and isinstance(attributes, Conv | Matmul) and attributes.dataflow == "lanes":
        return 'the matrix engine works weight-, output- or input-stationary, got "lanes"'
    return ""


def layout(command: Command) -> str:
    """Every region has a shape, strides and an element width that make sense."""
    for name, region in _operands(command):
        if region.bits not in ELEMENT_BITS:
            return f"{name}: expected elements of {ELEMENT_BITS} bits, got {region.bits}"
        if len(region.shape) != len(region.strides):
            return f"{name}: expected one stride for each of {len(region.shape)} axes, got {len(region.strides)}"
        if min(region.shape, default=1) < 1 or math.prod(region.shape) > LARGEST:
            return f"{name}: expected sizes of at least 1 and of a memory's size at most, got shape {region.shape}"
        if min(region.strides, default=0) < 0 or max(region.strides, default=0) > LARGEST:
            return f"{name}: expected strides of 0 or more and of a memory's size at most, got {region.strides}"
        if region.bits < 8 and (wrong := ragged_breach(region)):
            return f"{name}: {wrong}"
    return ""


def operands(command: Command) -> str:
    """As many reads and writes as the op and its tail have."""
    attributes = command.attributes
    if isinstance(attributes, Host):
        return "" if command.writes else "host writes at least one tensor, got none"
    reads = 1
    if isinstance(attributes, Conv | Matmul | Eltwise):
        reads += not isinstance(attributes, Eltwise)
        tail = attributes.tail
        reads += tail.table + (tail.multiply is not None) + (tail.add is not None)
    if len(command.reads) != reads or len(command.writes) != 1:
        return f"{command.op} has {reads} read(s) and 1 write, got {len(command.reads)} and {len(command.writes)}"
    return ""


def memory(command: Command) -> str:
    """load brings from dram to sram, store takes back, host works on dram, all others on sram."""
    source, target = _MEMORIES.get(type(command.attributes), ("sram", "sram"))
    for expected, kind, regions in ((source, "reads", command.reads), (target, "writes", command.writes)):
        for region in regions:
            if region.memory != expected:
                return f"{command.op} {kind} {expected}, got {region.memory!r}"
    return ""


def window(command: Command) -> str:
    """Windows move forward, and every pooling window holds at least one element."""
    attributes = command.attributes
    windows: list[Window] = []
    if isinstance(attributes, Conv | Pool):
        windows.append(attributes.window)
    tail = _tail(command)
    if tail is not None and tail.pool is not None:
        windows.append(tail.pool)
    for each in windows:
        if min(*each.kernel, *each.stride, *each.dilation) < 1 or min(each.padding) < 0:
            return f"expected kernel, stride and dilation of 1 or more and padding of 0 or more, got {each}"
        if max(*each.kernel, *each.stride, *each.dilation, *each.padding) > LARGEST:
            return f"expected a window of a memory's size at most, got {each}"
    if isinstance(attributes, Pool):
        return _empty_window(attributes.window, command.reads[0].shape)
    if tail is not None and tail.pool is not None and isinstance(attributes, Conv | Eltwise):
        return _empty_window(tail.pool, _before_pool(command))
    return ""


def groups(command: Command) -> str:
    """The groups of a convolution divide its channels, in and out."""
    if not isinstance(command.attributes, Conv):
        return ""
    count = command.attributes.groups
    channels_in, channels_out = _channels(command.reads[0].shape), command.reads[1].shape[:1]
    if count < 1 or channels_in % count or any(size % count for size in channels_out):
        return f"groups must divide {channels_in} channels in and {channels_out} out, got {count}"
    return ""


def shapes(command: Command) -> str:
    """The sizes of the result follow from those of the operands."""
    attributes = command.attributes
    if isinstance(attributes, Host):
        return ""
    source, target = command.reads[0].shape, command.writes[0].shape
    if isinstance(attributes, Load | Store):
        return "" if source == target else f"{command.op} keeps the shape, got {source} -> {target}"
    if isinstance(attributes, Copy):
        same = math.prod(source) == math.prod(target)
        return "" if same else f"copy keeps the number of elements, got {source} -> {target}"
    if isinstance(attributes, Matmul):
        return _matmul_shapes(source, command.reads[1].shape, target, attributes.tail)
    if isinstance(attributes, Conv):
        wrong = _weights_shape(attributes, source, command.reads[1].shape)
        if wrong:
            return wrong
    pool = attributes.window if isinstance(attributes, Pool) else attributes.tail.pool
    if len(source) < 2 or (len(source) < 3 and (pool is not None or isinstance(attributes, Conv))):
        return f"{command.op} reads a map (c, h, w), got shape {source}"
    before = _before_pool(command)
    expected = before if pool is None else (before[0], *_windows(pool, before))
    if min(expected) < 1:
        return f"the window is larger than the padded map {before}"
    got = _collapsed(target)
    return "" if got == expected else f"{command.op} of {source} writes {expected}, got {target}"


def table(command: Command) -> str:
    """The table of a tail is float32, (2, channels)."""
    tail = _tail(command)
    if tail is None or not tail.table:
        return ""
    region = command.reads[1 if isinstance(command.attributes, Eltwise) else 2]
    result = _before_pool(command)
    channels = result[-1] if len(result) == 2 else result[0]
    if region.shape != (2, channels) or region.bits != 32:
        return f"expected a table of (2, {channels}) at 32 bits, got {region.shape} at {region.bits}"
    return ""


def factor(command: Command) -> str:
    """What a tail multiplies by has the shape of the result that it is applied to, or axes of size 1."""
    tail = _tail(command)
    if tail is None or tail.multiply is None:
        return ""
    return _term_breach(command, "a factor", command.reads[-1 - (tail.add is not None)])


def addend(command: Command) -> str:
    """What a tail adds has the shape of the result that it is added to, or axes of size 1."""
    tail = _tail(command)
    if tail is None or tail.add is None:
        return ""
    return _term_breach(command, "an addend", command.reads[-1])


def _term_breach(command: Command, name: str, term: Region) -> str:
    expected, got = _before_pool(command), _collapsed(term.shape)
    if len(got) == len(expected) and all(size in (1, whole) for size, whole in zip(got, expected, strict=True)):
        return ""
    return f"expected {name} of shape {expected}, or of 1 along some axes, got {term.shape}"


def _operands(command: Command) -> list[tuple[str, Region]]:
    reads = [(f"read {index}", region) for index, region in enumerate(command.reads)]
    return reads + [(f"write {index}", region) for index, region in enumerate(command.writes)]


def _tail(command: Command) -> Tail | None:
    attributes = command.attributes
    return attributes.tail if isinstance(attributes, Conv | Matmul | Eltwise) else None


def _channels(shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-2])


def _collapsed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A map as (channels, rows, columns); rows as they are."""
    return (_channels(shape), *shape[-2:]) if len(shape) > 2 else shape


def _windows(each: Window, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many positions a window has along rows and columns; below 1 where it does not fit at all."""
    counts = []
    for axis in (0, 1):
        padded = shape[axis - 2] + each.padding[axis] + each.padding[axis + 2]
        extent = (each.kernel[axis] - 1) * each.dilation[axis] + 1
        counts.append((padded - extent) // each.stride[axis] + 1)
    return counts[0], counts[1]


def _empty_window(each: Window, shape: tuple[int, ...]) -> str:
    """What is wrong if some window lies in the padding alone; its result would be undefined."""
    if len(shape) < 3:
        return ""  # no map: `shapes` says so
    for axis, count in enumerate(_windows(each, shape)):
        before = each.padding[axis]
        reach = (each.kernel[axis] - 1) * each.dilation[axis]
        if before > reach or (count - 1) * each.stride[axis] - before >= shape[axis - 2]:
            return f"a pooling window of {each} lies outside the map {shape}"
    return ""


def _before_pool(command: Command) -> tuple[int, ...]:
    """The shape of the result before the pooling step, as a map or as rows."""
    attributes, source = command.attributes, command.reads[0].shape
    if isinstance(attributes, Conv):
        return (command.reads[1].shape[0], *_windows(attributes.window, source))
    if isinstance(attributes, Matmul):
        return (source[0], command.reads[1].shape[0])
    return _collapsed(source)


def _weights_shape(conv: Conv, source: tuple[int, ...], weights: tuple[int, ...]) -> str:
    expected = (_channels(source) // conv.groups, *conv.window.kernel)
    if len(weights) == 4 and weights[1:] == expected:
        return ""
    return f"expected weights of shape (n, {', '.join(map(str, expected))}), got {weights}"


def _matmul_shapes(source: tuple[int, ...], weights: tuple[int, ...], target: tuple[int, ...], tail: Tail) -> str:
    if tail.pool is not None:
        return "only maps can be pooled, matmul makes rows"
    if len(source) != 2 or len(weights) != 2 or weights[1] != source[1] or target != (source[0], weights[0]):
        return f"expected (m, c) x (n, c) -> (m, n), got {source} x {weights} -> {target}"
    return ""
