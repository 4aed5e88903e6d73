"""A network -> the same network, with operators that are cut along what they sum over: so that the smallest tile of each fits.

A tile of a convolution or a matrix product is a part of its output, but reads all channels of the input. Where even one row
of one step of channels is too much, the operator is cut along the channels that it sums over, into operators that each add
their sums to those before; then the tail follows as an operator of its own:

    y = tail(w x)   ->   s1 = w1 x1,   s2 = s1 + w2 x2,   ...,   y = tail(sn)

Sums of codes are handed on as 32-bit codes, and added, exactly: the numbers are those of the whole operator. Sums of floats
are rounded to float32 between two parts. That takes 4 bytes for each element of the output and part, so for `Depth` it is the
last resort, and no network that fits without is changed; `opt.rewrite.shallow` does it where it is quicker.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from nas.compiler.network import Network, tensor_bytes
from nas.compiler.parts.rewriting import Rewriting, resized
from nas.compiler.regions import MAP_RANK, as_map, image_of, place
from nas.compiler.tiling import Tile, channel_step, output_size, part_of, reads_rows, staged
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv, Eltwise, Matmul, Pool, Tail
from nas.ir.program import Operator
from nas.ir.tensor import Format, Tensor, container_bits, sums_format
from nas.sim.formats import largest_integer

_LARGEST_SUM = (1 << 31) - 1
_Sums = Conv | Matmul
_Kind = tuple[tuple[int, ...], Format, bool]  # shape, format, whether constant


@dataclass(frozen=True)
class Depth:
    """Before the naive program is made, and in the optimiser once operators have grown by fusing."""

    name: str = "depth"
    why: str = "what not even one tile of fits the sram could not run at all"

    def run(self, network: Network, processor: Processor) -> Network:
        """What that cannot help (products of two features, grouped convolutions, channels of several axes) stays as it is."""
        found = {index: _size_that_fits(network, each, processor) for index, each in enumerate(network.operators)}
        return cut_along_depth(network, {index: size for index, size in found.items() if size})


def cut_along_depth(network: Network, sizes: Mapping[int, int]) -> Network:
    """The network with operators, by their places, in parts that sum over so many channels. They have to be such as `can_be_cut`."""
    if not sizes:
        return network
    cutting = _Cutting(dict(network.tensors), dict(network.constants), [])
    for index, operator in enumerate(network.operators):
        function = operator.function
        if index in sizes and isinstance(function, Conv | Matmul):
            cutting.cut(operator, function, sizes[index])
        else:
            cutting.operators.append(operator)
    return cutting.result(network)


def can_be_cut(network: Network, operator: Operator) -> bool:
    """Whether it can be cut along its depth: a product with constant weights that all channels of the input go into."""
    function = operator.function
    if not isinstance(function, Conv | Matmul) or (isinstance(function, Conv) and function.groups > 1):
        return False
    data, weight = (network.tensors[name] for name in operator.inputs[:2])
    if weight.role != "constant":
        return False
    if len(data.shape) != (MAP_RANK if isinstance(function, Conv) else 1) + 1 or data.shape[1] != weight.shape[1]:
        return False
    coded = function.input.is_code and function.weight.is_code
    terms = math.prod(weight.shape[1:])
    # Sums that could leave 32 bits could not be handed on.
    return not coded or largest_integer(function.input) * largest_integer(function.weight) * terms <= _LARGEST_SUM


def depth_step(data: Tensor, weight: Tensor) -> int:
    """The channels of a part come in multiples of this, on whole bytes."""
    return max(1, 8 // min(container_bits(data.format.bits), container_bits(weight.format.bits)))


def tile_bytes(network: Network, operator: Operator, channels: int) -> int:
    """The bytes on chip of an operator's largest tile of one row and at least so many channels, if there are as many."""
    tensors = [network.tensors[name] for name in (*operator.inputs, *operator.outputs)]
    assert isinstance(operator.function, Conv | Matmul)
    return _tile_bytes(operator.function, _kinds(tensors), channels)


def _size_that_fits(network: Network, operator: Operator, processor: Processor) -> int:
    """The most channels to sum over with which two smallest tiles fit, or at least one; 0 where the whole fits, or nothing does."""
    room_bytes, function = processor.sram.size_bytes, operator.function
    if not isinstance(function, Conv | Matmul):
        return 0
    tensors = [network.tensors[name] for name in (*operator.inputs, *operator.outputs)]
    if sum(map(tensor_bytes, tensors)) <= room_bytes // 2:
        return 0  # all of it fits, however it is aligned
    if tile_bytes(network, operator, 1) <= room_bytes or not can_be_cut(network, operator):
        return 0
    data, weight = tensors[:2]
    sums, step = _sums_of(function, data, weight), depth_step(data, weight)
    part = msgspec.structs.replace(function, tail=Tail(add=sums.format, output=sums.format))
    for tiles in (2, 1):
        size = weight.shape[1]
        while size > step:
            size = ceil_div(ceil_div(size, 2), step) * step
            kinds = _kinds([resized(data, size), resized(weight, size), sums, sums])
            if tiles * _tile_bytes(part, kinds, 1) <= room_bytes:
                whole = math.lcm(step, processor.matrix.rows)
                return size // whole * whole or size
    return 0


class _Cutting(Rewriting):
    def cut(self, operator: Operator, function: _Sums, size: int) -> None:
        """Add parts that do the work of `operator`, each of which sums over at most `size` channels."""
        data, weight = (self.tensors[name] for name in operator.inputs[:2])
        sums = _sums_of(function, data, weight)
        before: tuple[str, ...] = ()
        for start in range(0, weight.shape[1], size):
            stop = min(start + size, weight.shape[1])
            source, kernel = self.part(operator.layer, data.name, start, stop), self._weight_part(weight, start, stop)
            result = self.new(f"{operator.outputs[0]}.sums", sums)
            part = msgspec.structs.replace(function, tail=Tail(add=sums.format if before else None, output=sums.format))
            self.operators.append(Operator(operator.layer, part, (source, kernel, *before), (result,)))
            before = (result,)
        self._finish(operator, function.tail, before, sums)

    def _finish(self, operator: Operator, tail: Tail, sums_name: tuple[str, ...], sums: Tensor) -> None:
        """The tail, and the pool at its end, of the whole sums; a pool behind an element-wise command has no tiles."""
        inputs, outputs = (*sums_name, *operator.inputs[2:]), operator.outputs
        if tail.pool is not None:
            outputs = (self.new(f"{operator.outputs[0]}.encoded", Tensor("", sums.shape, tail.output)),)
        last = Eltwise(sums.format, msgspec.structs.replace(tail, pool=None))
        self.operators.append(Operator(operator.layer, last, inputs, outputs))
        if tail.pool is not None:
            pool = Pool("max", tail.pool, True, tail.output, tail.output)
            self.operators.append(Operator(operator.layer, pool, outputs, operator.outputs))

    def _weight_part(self, weight: Tensor, start: int, stop: int) -> str:
        name = self.new(f"{weight.name}.part", resized(weight, stop - start))
        stored = self.constants.get(weight.name)
        if stored is not None:
            bits, places = container_bits(weight.format.bits), math.prod(weight.shape[2:])
            rows = stored.reshape(weight.shape[0], -1)
            self.constants[name] = rows[:, start * places * bits // 8 : ceil_div(stop * places * bits, 8)].reshape(-1)
        return name


def _sums_of(function: _Sums, data: Tensor, weight: Tensor) -> Tensor:
    """What the operator has summed up before its tail."""
    sides = function.window.output_size(*data.shape[2:]) if isinstance(function, Conv) else ()
    return Tensor("", (data.shape[0], weight.shape[0], *sides), sums_format(function.input, function.weight))


def _kinds(tensors: Sequence[Tensor]) -> tuple[_Kind, ...]:
    return tuple([(each.shape, each.format, each.role == "constant") for each in tensors])


@lru_cache(maxsize=1 << 12)
def _tile_bytes(function: _Sums, kinds: tuple[_Kind, ...], channels: int) -> int:
    """Of an operator on these inputs and this output, the last one."""
    regions = []
    for shape, form, constant in kinds:
        region = place(Tensor("", shape, form, "constant" if constant else "feature"), "dram", 0)
        regions.append(region if constant or isinstance(function, Matmul) else as_map(image_of(region, 0)))
    reads, write = tuple(regions[:-1]), regions[-1]
    (rows, count), step = output_size(function, reads, write), channel_step(function, reads, write)
    wide = min(count, ceil_div(channels, step) * step)
    # The first and the last row have padding, those between have the most to read.
    tiles = [Tile((row, row + 1), (0, wide)) for row in {0, rows // 2, rows - 1}]
    seen = [tile for tile in tiles if reads_rows(function, reads, tile.rows)]
    return max((staged(part_of(function, reads, write, tile))[1] for tile in seen), default=0)
