"""An operator and a part of its result -> the operator that makes just that part, and the parts of its operands.

Maps are cut along images, channels and rows, matrices along images (their rows) and channels. What an operator can't be cut
along it makes whole: `cut` tells which part it really makes, which is never less than what was asked for.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from nas.compiler.network import Bytes, Network
from nas.compiler.parallel.box import Box, whole_box, with_axis
from nas.compiler.regions import MAP_RANK, ROWS_RANK, place
from nas.compiler.tiling import Compute, Tile, channel_step, image_operands, input_rows, part_of, roles
from nas.ir.command import Conv, Eltwise, Matmul, Pool
from nas.ir.program import Concat, Function, Operator, View
from nas.ir.tensor import Region, Tensor

IMAGES, CHANNELS, ROWS = 0, 1, 2
_BATCHED_MAP = MAP_RANK + 1


@dataclass(frozen=True)
class Cut:
    """function: makes `made` of the result. needs: for each input a box, or, of a constant, a region of its stored form."""

    function: Function
    made: Box
    needs: tuple[Box | Region, ...]


def cut(operator: Operator, network: Network, wanted: Box) -> Cut:
    """What to do to have `wanted` of the operator's (first) result."""
    function, tensors = operator.function, network.tensors
    result = tensors[operator.outputs[0]]
    images = wanted[0] if can_cut_images(operator, network) else (0, result.shape[0])
    if isinstance(function, Conv | Matmul | Eltwise | Pool):
        parts = _compute_cut(operator, function, network, wanted, images)
        if parts is not None:
            return parts
    if isinstance(function, View | Concat) and _keeps_rows(operator, network):
        box = with_axis(with_axis(whole_box(result.shape), IMAGES, images), ROWS, wanted[ROWS])
        needs = [
            with_axis(with_axis(whole_box(tensors[name].shape), IMAGES, images), ROWS, wanted[ROWS])
            for name in operator.inputs
        ]
        if isinstance(function, View):
            rows = wanted[ROWS][1] - wanted[ROWS][0]
            function = msgspec.structs.replace(function, split=(*function.split[:-2], rows, function.split[-1]))
        return Cut(function, box, tuple(needs))
    whole = with_axis(whole_box(result.shape), IMAGES, images)
    apart = images if can_cut_images(operator, network) else None
    return Cut(function, whole, tuple(_whole_need(tensors[name], apart) for name in operator.inputs))


def can_cut_images(operator: Operator, network: Network) -> bool:
    """Whether the images can be computed apart from one another."""
    tensors = network.tensors
    if not isinstance(operator.function, Conv | Matmul | Eltwise | Pool | View | Concat):
        return False
    result = tensors[operator.outputs[0]]
    for name in operator.inputs:
        tensor = tensors[name]
        if tensor.role != "constant" and tensor.shape[0] != result.shape[0]:
            return False
        # Rows of a matrix are images: a term with a row for each of them would have to be cut with them.
        is_term = isinstance(operator.function, Eltwise | Matmul) and tensor.role == "constant"
        if is_term and len(result.shape) == ROWS_RANK and name in operator.inputs[_fixed_operands(operator) :]:
            return False
    return True


def cut_step(operator: Operator, network: Network) -> int:
    """The channels of the result can be cut at multiples of this."""
    function = operator.function
    shape = network.tensors[operator.outputs[0]].shape
    whole = shape[CHANNELS] if len(shape) > CHANNELS else 1
    if not isinstance(function, Conv | Matmul | Eltwise | Pool) or not _has_cut_operands(operator, network):
        return whole
    return channel_step(function, *_operands(operator, network))


def slice_constant(stored: Bytes, tensor: Tensor, part: Region) -> Bytes:
    """The stored bytes of a part of a constant."""
    if part.bits < 8:  # whole rows: a range of outputs is a range of bytes
        rows = stored.reshape(tensor.shape[0], -1)
        first = part.offset_bytes // rows.shape[1]
        return rows[first : first + part.shape[0]].reshape(-1)
    width = part.bits // 8
    elements = stored[part.offset_bytes :].view(np.dtype(f"u{width}"))
    strides = tuple(stride * width for stride in part.strides)
    view = np.lib.stride_tricks.as_strided(elements, part.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(-1).view(np.uint8)


def _compute_cut(
    operator: Operator, function: Compute, network: Network, wanted: Box, images: tuple[int, int]
) -> Cut | None:
    """None where only all channels and rows can be made."""
    tensors = network.tensors
    result = tensors[operator.outputs[0]]
    if wanted[1:] == whole_box(result.shape)[1:] or not _has_cut_operands(operator, network):
        return None
    reads, write = _operands(operator, network)
    step = channel_step(function, reads, write)
    channel_count = result.shape[CHANNELS]
    channels = (wanted[CHANNELS][0] // step * step, min(-(-wanted[CHANNELS][1] // step) * step, channel_count))
    is_map = len(result.shape) == _BATCHED_MAP
    rows = wanted[ROWS] if is_map else (0, 1)
    if not _reads_some(function, reads[0], rows):
        return None
    part = part_of(function, reads, write, Tile(rows, channels))
    needs: list[Box | Region] = []
    for name, region, role in zip(operator.inputs, part.reads, roles(function), strict=True):
        tensor = tensors[name]
        if tensor.role != "constant":
            needs.append(_box_of(region, tensor, images))
        elif region.bits < 8 and role != "weight" and region.shape != tensor.shape:
            return None
        else:
            needs.append(region)
    box = with_axis(with_axis(whole_box(result.shape), IMAGES, images), CHANNELS, channels)
    return Cut(part.function, with_axis(box, ROWS, rows) if is_map else box, tuple(needs))


def _reads_some(function: Compute, data: Region, rows: tuple[int, int]) -> bool:
    """Whether these rows of the output see more of the input than its padding."""
    start, stop = input_rows(function, data, rows)
    return start < stop


def _operands(operator: Operator, network: Network) -> tuple[tuple[Region, ...], Region]:
    """The whole operands of one image, each in a memory of its own name."""
    reads = [place(network.tensors[name], name, 0) for name in operator.inputs]
    write = place(network.tensors[operator.outputs[0]], operator.outputs[0], 0)
    return image_operands(operator, network.tensors, reads, write)[0]


def _has_cut_operands(operator: Operator, network: Network) -> bool:
    """Whether all operands but the constants are maps, or all are matrices."""
    features = [network.tensors[name] for name in (*operator.inputs, *operator.outputs)]
    ranks = {len(tensor.shape) for tensor in features if tensor.role != "constant"}
    return len(operator.outputs) == 1 and ranks in ({_BATCHED_MAP}, {ROWS_RANK})


def _box_of(region: Region, tensor: Tensor, images: tuple[int, int]) -> Box:
    """Which part of a tensor a region of (one image of) it is."""
    place_ = region.offset_bytes * 8 // region.bits
    strides = place(tensor, "", 0).strides[1:]
    box: list[tuple[int, int]] = [images]
    # Of a matrix a region has the images' axis too.
    sizes = region.shape[-len(strides) :]
    for stride, size in zip(strides, sizes, strict=True):
        start, place_ = divmod(place_, stride)
        box.append((start, start + size))
    return tuple(box)


def _whole_need(tensor: Tensor, images: tuple[int, int] | None) -> Box | Region:
    if tensor.role == "constant":
        return place(tensor, tensor.name, 0)
    box = whole_box(tensor.shape)
    return box if images is None else with_axis(box, IMAGES, images)


def _keeps_rows(operator: Operator, network: Network) -> bool:
    """Whether a view or a concat leaves the rows and columns of its maps where they are."""
    function = operator.function
    shapes = [network.tensors[name].shape for name in (*operator.inputs, *operator.outputs)]
    if any(len(shape) != _BATCHED_MAP or shape[-2:] != shapes[0][-2:] for shape in shapes):
        return False
    if any(network.tensors[name].role == "constant" for name in operator.inputs):
        return False
    if isinstance(function, View):
        last = len(function.split) - 1
        return last > 1 and function.split[-2:] == shapes[0][-2:] and function.order[-2:] == (last - 1, last)
    return True


def _fixed_operands(operator: Operator) -> int:
    """How many operands come before the terms of a tail."""
    assert isinstance(operator.function, Conv | Matmul | Eltwise | Pool)
    return sum(role in ("data", "weight", "table") for role in roles(operator.function))
