"""A whole program -> cycles that no compiler can go below, since weights wait for what comes before them.

Loading and computing overlap only as far as the sram holds what is loaded early. Take any tensor v.

    before   all multiply-adds of the operators whose every result has a part in v
    after    the weights that every element of v meets, itself or by what is made of it

Let t be the time when the last multiply-add of `before` is done; it has a part in some element z of v, so that nothing that
depends on z begins earlier. Up to t the engines have done all of `before`: t >= compute(before), at their peak in the best
split over engines and cores. From t on, each weight of `after` is still to be multiplied with something that depends on z,
by a command that begins after t and reads the weight from sram. At t the srams hold at most all their bytes of them; the
others come later, at most at full bandwidth. Hence, for every v,

    cycles >= compute(before) + (bytes(after) - cores * sram) / bandwidth.

That holds where outputs depend on every element of v, and of all that is made of the weights in `after`: nobody has to make the
others. What an element meets is followed exactly along rows and columns, each by itself: the part of a map that depends on one
element is a range of rows and one of columns, for windows without dilation, and in all channels once it has gone through a
convolution without groups. Of a kernel only those places count that meet the element's part wherever in v it lies. What
can't be followed (dilation, gaps between windows, slices of channels, the host) counts as met by nothing.
"""

from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.ir.command import Conv, Eltwise, Host, Matmul, Pool, Window
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Tensor

Ints = NDArray[np.int64]
_MAP, _ROWS = 4, 2
# Any v will do for a bound: of a deep network the most promising are followed.
_TRIED = 16


class Span(NamedTuple):
    """Of a tensor, along one axis, what depends on an element of v, for each place of that element: first and last place."""

    first: Ints
    last: Ints


class Cone(NamedTuple):
    """What depends on an element of v: rows, columns, and whether all channels do or at least one."""

    rows: Span
    columns: Span
    all_channels: bool


def waiting_cycles(
    operators: tuple[Operator, ...],
    tensors: Mapping[str, Tensor],
    whole: Container[str],
    compute_cycles: Callable[[list[int]], float],
    load_cycles: Callable[[int], int],
) -> int:
    """The largest of the bounds above, over all v.

    whole: the tensors of which every element is needed; compute_cycles: of the operators with these indices; load_cycles: of so
    many bytes beyond those that the srams hold.
    """
    weights = {
        index: _weight_bytes(operator, tensors)
        for index, operator in enumerate(operators)
        if operator.outputs[0] in whole
    }
    tried = []
    for index, operator in enumerate(operators):
        after_cycles = load_cycles(sum(size for later, size in weights.items() if later > index))
        if not after_cycles or operator.outputs[0] not in whole:
            continue
        before = _before(index, operators, tensors)
        most = compute_cycles(before) + after_cycles
        tried.append((-most, index, before, operator.outputs[0]))
    best = 0.0
    for most, index, before, name in sorted(tried)[:_TRIED]:
        if -most <= best:
            break  # no other can be larger
        met = _met_bytes(index, name, operators, tensors, whole)
        best = max(best, compute_cycles(before) + load_cycles(met))
    return int(best)


def _weight_bytes(operator: Operator, tensors: Mapping[str, Tensor]) -> int:
    if not isinstance(operator.function, Conv | Matmul):
        return 0
    weights = tensors[operator.inputs[1]]
    return int(np.prod(weights.shape)) * weights.format.bits // 8 if weights.role == "constant" else 0


def _before(last: int, operators: tuple[Operator, ...], tensors: Mapping[str, Tensor]) -> list[int]:
    """The operators up to `last` whose every multiply-add has a part in the first result of that one."""
    leads = {operators[last].outputs[0]}
    found = []
    for index in range(last, -1, -1):
        operator = operators[index]
        if operator.outputs[0] not in leads or not _all_count(operator, tensors):
            continue
        found.append(index)
        for place, name in enumerate(() if isinstance(operator.function, Host) else operator.inputs):
            if place > 0 or _reads_all(operator, tensors):
                leads.add(name)
    return found


def _all_count(operator: Operator, tensors: Mapping[str, Tensor]) -> bool:
    """Whether every element before a fused pool is in one of its windows."""
    function = operator.function
    if not isinstance(function, Conv) or function.tail.pool is None:
        return True
    height, width = function.window.output_size(*tensors[operator.inputs[0]].shape[-2:])
    return all(function.tail.pool.covers(height, width))


def _reads_all(operator: Operator, tensors: Mapping[str, Tensor]) -> bool:
    """Whether every element of the data has a part in the result."""
    function, source = operator.function, tensors[operator.inputs[0]]
    if isinstance(function, Conv | Pool):
        return len(source.shape) == _MAP and all(function.window.covers(*source.shape[-2:]))
    if isinstance(function, View):
        return not function.stop
    return isinstance(function, Eltwise | Matmul | Concat)


def _met_bytes(
    index: int, name: str, operators: tuple[Operator, ...], tensors: Mapping[str, Tensor], whole: Container[str]
) -> int:
    """The bytes of weights that every element of `name`, the result of operator `index`, meets; of results that are needed whole."""
    shape = tensors[name].shape
    size = _plane(shape)
    if size is None:
        return 0
    spans = [Span(np.arange(length), np.arange(length)) for length in size]
    cones = {name: Cone(spans[0], spans[1], len(shape) > 1 and shape[1] == 1)}
    total = 0
    for operator in operators[index + 1 :]:
        function, data = operator.function, cones.get(operator.inputs[0])
        if data is not None and isinstance(function, Conv | Matmul) and operator.outputs[0] in whole:
            total += _met_of(operator, function, data, tensors)
        cone = _after(operator, cones, tensors)
        if cone is not None:
            cones[operator.outputs[0]] = cone
    return total


def _met_of(operator: Operator, function: Conv | Matmul, data: Cone, tensors: Mapping[str, Tensor]) -> int:
    """Of an operator's weights, the bytes that are multiplied with something of `data`, wherever its element lies."""
    weights, source = tensors[operator.inputs[1]], tensors[operator.inputs[0]]
    size_bytes = _weight_bytes(operator, tensors)
    if isinstance(function, Matmul):
        return size_bytes if data.all_channels else size_bytes // weights.shape[1]
    if function.groups > 1 and not data.all_channels:
        return 0
    share = 1 if data.all_channels else weights.shape[1]
    count = function.window.output_size(*source.shape[-2:])
    places = 1
    for axis, span in enumerate((data.rows, data.columns)):
        places *= sum(
            _is_met(function.window, axis, tap, span, count[axis]) for tap in range(function.window.kernel[axis])
        )
    kernel_rows, kernel_columns = function.window.kernel
    return size_bytes * places // (share * kernel_rows * kernel_columns)


def _is_met(window: Window, axis: int, tap: int, span: Span, count: int) -> bool:
    """Whether this place of the kernel falls, for some output, on a place of every range."""
    stride, start = window.stride[axis], tap * window.dilation[axis] - window.padding[axis]
    first, last = np.maximum(span.first, start), np.minimum(span.last, start + (count - 1) * stride)
    return bool(((last - start) // stride >= -((start - first) // stride)).all())


def _after(operator: Operator, cones: Mapping[str, Cone], tensors: Mapping[str, Tensor]) -> Cone | None:
    """What of an operator's result depends on the element, as far as it can be followed."""
    function, result = operator.function, tensors.get(operator.outputs[0])
    size = None if result is None else _plane(result.shape)
    known = [cones[name] for name in operator.inputs if name in cones]
    if not known or size is None:
        return None
    data = cones.get(operator.inputs[0])
    if isinstance(function, Concat):
        return Cone(known[0].rows, known[0].columns, False)
    if isinstance(function, View):
        return _seen(operator, function, data, tensors)
    if isinstance(function, Conv | Pool):
        if data is not None:
            data = _through(function.window, data, tensors[operator.inputs[0]].shape[-2:])
        if data is not None and isinstance(function, Conv) and function.groups == 1:
            data = data._replace(all_channels=True)
    elif isinstance(function, Matmul):
        data = None if data is None else data._replace(all_channels=True)
    elif not isinstance(function, Eltwise):
        return None
    best = data
    pool, before_pool = None, size
    if isinstance(function, Conv) and function.tail.pool is not None:
        pool, before_pool = function.tail.pool, function.window.output_size(*tensors[operator.inputs[0]].shape[-2:])
    for name in operator.inputs[1:]:
        term = cones.get(name)
        if term is not None and (best is None or (term.all_channels and not best.all_channels)):
            best = _spread(term, _plane(tensors[name].shape), before_pool)
    return _through(pool, best, before_pool) if pool is not None and best is not None else best


def _spread(term: Cone, size: tuple[int, int] | None, onto: tuple[int, int]) -> Cone | None:
    """A factor or addend: an axis of size 1 serves all places along it."""
    if size is None:
        return None
    spans = [
        Span(np.zeros_like(span.first), np.full_like(span.last, whole - 1)) if length == 1 < whole else span
        for span, length, whole in zip((term.rows, term.columns), size, onto, strict=True)
    ]
    return Cone(spans[0], spans[1], term.all_channels)


def _through(window: Window, cone: Cone, size: tuple[int, ...]) -> Cone | None:
    """The outputs of a sliding window that see something of `cone`; None where there may be none, or gaps."""
    if window.dilation != (1, 1):
        return None
    count = window.output_size(size[0], size[1])
    spans = []
    for axis, span in enumerate((cone.rows, cone.columns)):
        stride, padding, kernel = window.stride[axis], window.padding[axis], window.kernel[axis]
        first = np.maximum(-((kernel - 1 - padding - span.first) // stride), 0)
        last = np.minimum((span.last + padding) // stride, count[axis] - 1)
        if (first > last).any():
            return None
        spans.append(Span(first, last))
    return Cone(spans[0], spans[1], cone.all_channels)


def _seen(operator: Operator, view: View, data: Cone | None, tensors: Mapping[str, Tensor]) -> Cone | None:
    """Through a view: rows and columns stay, where they do; single channels may be sliced away."""
    if data is None or (view.stop and not data.all_channels):
        return None
    before, after = (_plane(tensors[name].shape) for name in (operator.inputs[0], operator.outputs[0]))
    keeps_pixels = view.split[-2:] == before and view.order[-2:] == (len(view.order) - 2, len(view.order) - 1)
    return data if before == after and (before == (1, 1) or keeps_pixels) else None


def _plane(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(rows, columns) of a map, (1, 1) of a matrix; None of anything else."""
    if len(shape) == _MAP:
        return shape[2], shape[3]
    return (1, 1) if len(shape) == _ROWS else None
