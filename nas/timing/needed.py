"""The operators of a network -> of each tensor the elements that some output depends on, the same ones for every image.

Nobody has to make or to read the others: rows and columns that a window steps over, what it leaves at the edge, channels that a
slice cuts away. Followed from the outputs back to the inputs, element by element, exactly but for this: all channels of a
group count where one of them is needed, and all that a host's call reads.

A mask has the axes of one image of a tensor, or of a constant as it is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.ir.command import Conv, Eltwise, Host, Pool, Tail, Window
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Tensor

Mask = NDArray[np.bool_]
_MAP = 3  # axes of a map of one image


def needed(operators: Sequence[Operator], tensors: Mapping[str, Tensor]) -> dict[str, Mask]:
    """The masks of all tensors of which something is needed. What nobody reads counts as an output."""
    read = {name for operator in operators for name in operator.inputs}
    made = {name for operator in operators for name in operator.outputs}
    masks = {
        name: np.ones(_sizes(tensor), bool)
        for name, tensor in tensors.items()
        if tensor.role == "output" or name in made - read
    }
    for operator in reversed(operators):
        for name, mask in _reads(operator, masks, tensors):
            seen = mask.reshape(_sizes(tensors[name]))
            masks[name] = masks[name] | seen if name in masks else seen
    return masks


def elements(name: str, masks: Mapping[str, Mask], tensors: Mapping[str, Tensor]) -> int:
    """How many elements of a tensor are needed, of all images."""
    images = 1 if tensors[name].role == "constant" else tensors[name].shape[0]
    return images * int(np.count_nonzero(masks[name])) if name in masks else 0


def sums(operator: Operator, masks: Mapping[str, Mask], tensors: Mapping[str, Tensor]) -> int:
    """How many results of a convolution or product are needed before they are pooled, of all images."""
    name = operator.outputs[0]
    return (
        tensors[name].shape[0] * int(np.count_nonzero(_before_pool(operator, masks, tensors))) if name in masks else 0
    )


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    return tensor.shape if tensor.role == "constant" else tensor.shape[1:]


def _reads(operator: Operator, masks: Mapping[str, Mask], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Mask]]:
    """What the operator reads for that of its results which is needed; in the order of the elements, if not of these axes."""
    function, names = operator.function, operator.inputs
    if not any(name in masks for name in operator.outputs) or any(name not in tensors for name in names):
        return
    if isinstance(function, Host):
        yield from ((name, np.ones(_sizes(tensors[name]), bool)) for name in names)
        return
    result = masks[operator.outputs[0]]
    if isinstance(function, View):
        yield names[0], _seen(function, result)
    elif isinstance(function, Concat):
        ends = np.cumsum([_sizes(tensors[name])[0] for name in names])
        yield from zip(names, np.split(result, ends[:-1]), strict=True)
    elif isinstance(function, Pool):
        yield names[0], _under(function.window, result, _sizes(tensors[names[0]]))
    else:
        yield from _computed(operator, _before_pool(operator, masks, tensors), tensors)


def _computed(operator: Operator, made: Mask, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Mask]]:
    """Of a convolution, a product or an element-wise step: what its operands are for, by the results before any pool."""
    function, names = operator.function, operator.inputs
    terms = names[1:] if isinstance(function, Eltwise) else names[2:]
    channels = _any(made, (1, 2)) if made.ndim == _MAP else made
    if isinstance(function, Eltwise):
        yield names[0], made
    elif isinstance(function, Conv):
        depth = tensors[names[1]].shape[-3]
        groups = _any(made.reshape(function.groups, -1, *made.shape[1:]), (1,))
        yield names[0], np.repeat(_under(function.window, groups, _sizes(tensors[names[0]])), depth, axis=0)
        yield names[1], np.broadcast_to(channels[:, None, None, None], tensors[names[1]].shape[-4:])
    else:
        depth = tensors[names[1]].shape[-1]
        yield names[0], np.broadcast_to(made.any(), depth)
        yield names[1], np.broadcast_to(channels[:, None], tensors[names[1]].shape[-2:])
    tail: Tail = getattr(function, "tail", Tail())
    if tail.table:
        yield terms[0], np.broadcast_to(channels, (2, len(channels)))
        terms = terms[1:]
    for name in terms:
        yield name, _along(made, _sizes(tensors[name]))


def _before_pool(operator: Operator, masks: Mapping[str, Mask], tensors: Mapping[str, Tensor]) -> Mask:
    """The results that are needed of what comes before a fused pool; of a map with its channels along one axis."""
    mask, function = masks[operator.outputs[0]], operator.function
    if mask.ndim == 1:
        return mask  # a row of a matrix
    mask = mask.reshape(-1, *mask.shape[-2:])
    pool = getattr(function, "tail", Tail()).pool
    if pool is None:
        return mask
    plane = tensors[operator.inputs[0]].shape[-2:]
    plane = function.window.output_size(*plane) if isinstance(function, Conv) else plane
    return _under(pool, mask, plane)


def _under(window: Window, mask: Mask, sizes: tuple[int, ...]) -> Mask:
    """The places of a map of `sizes` (its last two count) that some window of `mask` sees, in as many channels as `mask` has."""
    mask = mask.reshape(-1, *mask.shape[-2:])
    rows, columns = (_places(window, axis, mask.shape[1 + axis], sizes[-2:][axis]) for axis in (0, 1))
    if mask.all():
        return np.broadcast_to(np.outer(rows.any(axis=0), columns.any(axis=0)), (len(mask), *sizes[-2:]))
    counts = rows.T.astype(np.float32) @ mask.astype(np.float32) @ columns.astype(np.float32)
    return counts > 0


def _places(window: Window, axis: int, windows: int, size: int) -> Mask:
    """(windows, size): whether each window sees each place along an axis."""
    first = np.arange(windows) * window.stride[axis] - window.padding[axis]
    seen = first[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]
    found = np.zeros((windows, size), bool)
    inside = (seen >= 0) & (seen < size)
    found[np.nonzero(inside)[0], seen[inside]] = True
    return found


def _seen(view: View, mask: Mask) -> Mask:
    """What of a view's input lands on `mask`."""
    source = np.zeros(view.split, bool)
    target = source.transpose(view.order)
    if view.stop:
        target = target[view.start : view.stop]
    target[...] = mask.reshape(target.shape)
    return source


def _along(mask: Mask, sizes: tuple[int, ...]) -> Mask:
    """The elements of a factor or addend of `sizes` that serve `mask`: an axis of size 1 serves all places along it."""
    if mask.ndim == _MAP:
        sizes = (math.prod(sizes[:-2]), *((1, 1, *sizes)[-2:]))
    mask = mask.reshape((1,) * (len(sizes) - mask.ndim) + mask.shape)
    for axis, size in enumerate(sizes):
        if size == 1:
            mask = np.expand_dims(_any(mask, (axis,)), axis)
    return np.broadcast_to(mask, sizes)


def _any(mask: Mask, axes: tuple[int, ...]) -> Mask:
    """Whether anything along these axes is needed."""
    return np.asarray(mask.any(axis=axes))
