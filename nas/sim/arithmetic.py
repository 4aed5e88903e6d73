"""What each command computes, on byte memories: the living definition of `nas.ir.command`.

Two coded operands are multiplied and summed in integers, exactly, in the narrowest type whose range the largest possible
sum stays within (float32 and float64 hold integers up to 2^24 and 2^53 exactly, and their matrix product is quick). Any
other pair is multiplied and summed in float64 and rounded to float32 once, so that the order of the sum hardly matters.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import ContractError, InputError
from nas.ir.command import Command, Conv, Copy, Eltwise, Host, Load, Matmul, Pool, Store, Tail, Window
from nas.ir.tensor import FLOAT32, Format, Region
from nas.sim.formats import IntegerType, encode, integers, largest_integer, numbers, saturated, scaled
from nas.sim.memory import Memories, Raw, read_raw, write_raw
from nas.sim.tail import apply_tail
from nas.sim.windows import max_pool, mean_pool, pad, taps

Numbers = NDArray[np.float32]
HostFunction = Callable[[str, str, list[Numbers]], list[Numbers]]

_EXACT_FLOAT32 = 1 << 24
_EXACT_FLOAT64 = 1 << 53
_EXACT_INT64 = 1 << 63


def execute(command: Command, memories: Memories, host: HostFunction | None = None) -> None:
    """Run one command on `memories`. `host` computes what only the host processor knows."""
    attributes = command.attributes
    if isinstance(attributes, Conv):
        _conv(command, attributes, memories)
    elif isinstance(attributes, Matmul):
        _matmul(command, attributes, memories)
    elif isinstance(attributes, Eltwise):
        y = numbers(_canonical(_read(command, 0, memories, attributes.input)), attributes.input)
        _finish(command, y, attributes.tail, 1, memories)
    elif isinstance(attributes, Pool):
        _pool(command, attributes, memories)
    elif isinstance(attributes, Host):
        _host(command, attributes, memories, host)
    elif isinstance(attributes, Load | Store | Copy):
        source, target = _only(command)
        write_raw(memories, target, read_raw(memories, source).reshape(target.shape))


def _conv(command: Command, conv: Conv, memories: Memories) -> None:
    source = _canonical(_read(command, 0, memories, conv.input))
    kernel = _read(command, 1, memories, conv.weight)
    if kernel.ndim != 4 or source.ndim != 3:
        raise ContractError(
            f"conv of {command.layer} needs a map and 4 weight axes, got {source.shape}, {kernel.shape}"
        )
    out_channels, depth = kernel.shape[:2]
    if source.shape[0] != depth * conv.groups or out_channels % conv.groups or kernel.shape[2:] != conv.window.kernel:
        raise ContractError(
            f"conv of {command.layer}: {source.shape[0]} channels, {conv.groups} groups and kernel "
            f"{conv.window.kernel} do not fit weights of shape {kernel.shape}"
        )
    x, w, scale = _operands(source, conv.input, kernel, conv.weight, depth * kernel.shape[2] * kernel.shape[3])
    sums = _correlate(pad(x, conv.window, 0), w, conv.window, conv.groups)
    _finish_sums(command, sums, scale, conv.tail, memories)


def _matmul(command: Command, matmul: Matmul, memories: Memories) -> None:
    source = _read(command, 0, memories, matmul.input)
    kernel = _read(command, 1, memories, matmul.weight)
    if source.ndim != 2 or kernel.ndim != 2 or source.shape[1] != kernel.shape[1]:
        raise ContractError(f"matmul of {command.layer} needs (m, c) and (n, c), got {source.shape} and {kernel.shape}")
    x, w, scale = _operands(source, matmul.input, kernel, matmul.weight, source.shape[1])
    _finish_sums(command, x @ w.T, scale, matmul.tail, memories)


def _pool(command: Command, pool: Pool, memories: Memories) -> None:
    source = _canonical(_read(command, 0, memories, pool.input))
    if source.ndim != 3:
        raise ContractError(f"pool of {command.layer} needs a map, got shape {source.shape}")
    if pool.kind == "mean":
        raw = encode(mean_pool(numbers(source, pool.input), pool.window, pool.count_padding), pool.output)
    else:
        raw = max_pool(source, pool.input, pool.window)
        if pool.output != pool.input:
            raw = encode(numbers(raw, pool.input), pool.output)
    _write(command, raw, pool.output, memories)


def _host(command: Command, attributes: Host, memories: Memories, host: HostFunction | None) -> None:
    if host is None:
        raise InputError(command.layer, "host", f"a host function that knows {attributes.function}", "none")
    operands = [numbers(read_raw(memories, _of(region, FLOAT32)), FLOAT32).copy() for region in command.reads]
    results = host(attributes.function, attributes.arguments, operands)
    if [result.shape for result in results] != [region.shape for region in command.writes]:
        raise ContractError(
            f"{attributes.function} of {command.layer} gave shapes {[result.shape for result in results]}, "
            f"the program expects {[region.shape for region in command.writes]}"
        )
    for region, result in zip(command.writes, results, strict=True):
        write_raw(memories, region, encode(np.asarray(result, np.float32), FLOAT32))


def _finish_sums(command: Command, sums: NDArray[Any], scale: float | None, tail: Tail, memories: Memories) -> None:
    """The tail of sums of products, which are integers of `scale`, or numbers already where there is none."""
    if scale is not None:
        own = Format(32, "code", scale)
        if tail in (Tail(output=own), Tail(add=own, output=own)):
            if tail.add is not None:
                before = integers(_canonical(_read(command, 2, memories, own)), own, np.int64)
                sums = sums.astype(np.int64) + before
            _write(command, saturated(sums), own, memories)
            return
    _finish(command, scaled(sums, 1.0 if scale is None else scale), tail, 2, memories)


def _finish(command: Command, y: Numbers, tail: Tail, next_read: int, memories: Memories) -> None:
    """The tail of `y` and the write of the result; table, factor and addend are the reads from `next_read` on."""
    expected = next_read + tail.table + (tail.multiply is not None) + (tail.add is not None)
    if len(command.reads) != expected:
        raise ContractError(f"{command.op} of {command.layer} needs {expected} reads, got {len(command.reads)}")
    table = factor = addend = None
    if tail.table:
        table = numbers(_read(command, next_read, memories, FLOAT32), FLOAT32)
    if tail.multiply is not None:
        factor = _term(command, next_read + tail.table, y, tail.multiply, memories)
    if tail.add is not None:
        addend = _term(command, expected - 1, y, tail.add, memories)
    _write(command, apply_tail(y, tail, table, factor, addend), tail.output, memories)


def _term(command: Command, index: int, y: Numbers, form: Format, memories: Memories) -> Numbers:
    """A factor or an addend: numbers of y's shape, or with axes of size 1."""
    term = numbers(_canonical(_read(command, index, memories, form)), form)
    if term.ndim != y.ndim or any(size not in (1, whole) for size, whole in zip(term.shape, y.shape, strict=True)):
        raise ContractError(f"{command.op} of {command.layer} applies shape {term.shape} to shape {y.shape}")
    return term


def _operands(
    source: Raw, source_format: Format, kernel: Raw, kernel_format: Format, terms: int
) -> tuple[NDArray[Any], NDArray[Any], float | None]:
    """Both operands in a type that holds any sum of `terms` products, and the scale of such a sum if it is an integer."""
    if not (source_format.is_code and kernel_format.is_code):
        wide = numbers(source, source_format).astype(np.float64), numbers(kernel, kernel_format).astype(np.float64)
        return (*wide, None)
    bound = largest_integer(source_format) * largest_integer(kernel_format) * terms
    if bound >= _EXACT_INT64:
        raise ContractError(f"a sum of {terms} products of {source_format} and {kernel_format} can overflow 64 bits")
    kind: IntegerType = np.float64 if bound < _EXACT_FLOAT64 else np.int64
    if bound < _EXACT_FLOAT32:
        kind = np.float32
    scale = source_format.scale * kernel_format.scale
    return integers(source, source_format, kind), integers(kernel, kernel_format, kind), scale


def _correlate(padded: NDArray[Any], kernel: NDArray[Any], window: Window, groups: int) -> NDArray[Any]:
    """Sums (n, p, q) of the padded map (c, h, w) under the kernel (n, c/g, k, l), one place of the kernel at a time."""
    out_channels, depth = kernel.shape[:2]
    grouped = kernel.reshape(groups, out_channels // groups, depth, *window.kernel)
    total: NDArray[Any] | None = None
    size = (0, 0)
    for row, column, part in taps(padded, window):
        size = part.shape[1:]
        columns = part.reshape(groups, depth, size[0] * size[1])
        weights = grouped[..., row, column]
        # One channel a group is a product per element, for which a matrix product is the slow way.
        product = weights * columns if depth == 1 else weights @ columns
        total = product if total is None else np.add(total, product, out=total)
    assert total is not None
    return total.reshape(out_channels, *size)


def _canonical(raw: Raw) -> Raw:
    """Maps with several axes of channels as (channels, rows, columns); rows as they are."""
    return raw if raw.ndim <= 3 else raw.reshape(-1, *raw.shape[-2:])


def _read(command: Command, index: int, memories: Memories, form: Format) -> Raw:
    if index >= len(command.reads):
        raise ContractError(f"{command.op} of {command.layer} lacks its read {index}")
    return read_raw(memories, _of(command.reads[index], form))


def _write(command: Command, raw: Raw, form: Format, memories: Memories) -> None:
    if len(command.writes) != 1:
        raise ContractError(f"{command.op} of {command.layer} writes one region, got {len(command.writes)}")
    target = _of(command.writes[0], form)
    flat = target.shape if len(target.shape) <= 3 else (-1, *target.shape[-2:])
    if len(flat) != raw.ndim or raw.size != target.elements or raw.shape[-1] != target.shape[-1]:
        raise ContractError(f"{command.op} of {command.layer} gives shape {raw.shape}, it writes {target.shape}")
    write_raw(memories, target, raw.reshape(target.shape))


def _of(region: Region, form: Format) -> Region:
    """The region itself, once it is sure that its elements are as wide as the format says."""
    if region.bits != form.bits:
        raise ContractError(f"{region} is read as {form.bits}-bit elements")
    return region


def _only(command: Command) -> tuple[Region, Region]:
    """The one read and the one write of a command that moves elements."""
    if len(command.reads) != 1 or len(command.writes) != 1:
        raise ContractError(f"{command.op} of {command.layer} needs one read and one write")
    source, target = command.reads[0], command.writes[0]
    if source.bits != target.bits or source.elements != target.elements:
        raise ContractError(f"{command.op} of {command.layer} moves {source} to {target}, which holds another amount")
    return source, target
