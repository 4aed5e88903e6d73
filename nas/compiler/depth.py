"""A network -> the same network, in which the smallest tile of every operator fits the SRAM.

A tile of a convolution or a matrix product is a part of its output, but reads all channels of the input. Where even one row
of one step of channels is too much, the operator is cut along the channels that it sums over, into operators that each add
their sums to those before; then the tail follows as an operator of its own:

    y = tail(w x)   ->   s1 = w1 x1,   s2 = s1 + w2 x2,   ...,   y = tail(sn)

Sums of codes are handed on as 32-bit codes, and added, exactly: the numbers are those of the whole operator. Sums of floats
are rounded to float32 between two parts. That takes 4 bytes for each element of the output and part, so it is the last
resort, and no network that fits without is changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import msgspec

from nas.compiler.network import Bytes, Network, tensor_bytes, unused_name
from nas.compiler.regions import MAP_RANK, as_map, image_of, place
from nas.compiler.tiling import Tile, channel_step, output_size, part_of, reads_rows, staged
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv, Eltwise, Matmul, Pool, Tail
from nas.ir.program import Operator, View
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
        cutting = _Cutting(processor, dict(network.tensors), dict(network.constants))
        for operator in network.operators:
            if not cutting.cut(operator):
                cutting.operators.append(operator)
        return network if len(cutting.operators) == len(network.operators) else cutting.result(network)


@dataclass
class _Cutting:
    processor: Processor
    tensors: dict[str, Tensor]
    constants: dict[str, Bytes]
    operators: list[Operator] = field(default_factory=list)

    def result(self, network: Network) -> Network:
        """`network` of these operators, without the constants that none of them reads any longer."""
        read = {name for operator in self.operators for name in operator.inputs}
        tensors = {name: each for name, each in self.tensors.items() if each.role != "constant" or name in read}
        constants = {name: each for name, each in self.constants.items() if name in read}
        return replace(network, operators=tuple(self.operators), tensors=tensors, constants=constants)

    def cut(self, operator: Operator) -> bool:
        """Whether parts of `operator`, which have been added, do its work."""
        function = operator.function
        if not isinstance(function, Conv | Matmul) or not self._is_too_large(operator, function):
            return False
        data, weight = (self.tensors[name] for name in operator.inputs[:2])
        size = self._depth_of_a_part(function, data, weight) if _can_be_cut(function, data, weight) else 0
        if size == 0:
            return False
        sums = _sums_of(function, data, weight)
        before: tuple[str, ...] = ()
        for start in range(0, weight.shape[1], size):
            stop = min(start + size, weight.shape[1])
            source, kernel = self._data_part(operator.layer, data, start, stop), self._weight_part(weight, start, stop)
            result = self._new(f"{operator.outputs[0]}.sums", sums)
            part = msgspec.structs.replace(function, tail=Tail(add=sums.format if before else None, output=sums.format))
            self.operators.append(Operator(operator.layer, part, (source, kernel, *before), (result,)))
            before = (result,)
        self._finish(operator, function.tail, before, sums)
        return True

    def _is_too_large(self, operator: Operator, function: _Sums) -> bool:
        """Whether not even the smallest tile fits."""
        room_bytes = self.processor.sram.size_bytes
        tensors = [self.tensors[name] for name in (*operator.inputs, *operator.outputs)]
        if sum(map(tensor_bytes, tensors)) <= room_bytes // 2:
            return False  # all of it fits, however it is aligned
        return _least_bytes(function, _kinds(tensors)) > room_bytes

    def _finish(self, operator: Operator, tail: Tail, sums_name: tuple[str, ...], sums: Tensor) -> None:
        """The tail, and the pool at its end, of the whole sums; a pool behind an element-wise command has no tiles."""
        inputs, outputs = (*sums_name, *operator.inputs[2:]), operator.outputs
        if tail.pool is not None:
            outputs = (self._new(f"{operator.outputs[0]}.encoded", Tensor("", sums.shape, tail.output)),)
        last = Eltwise(sums.format, msgspec.structs.replace(tail, pool=None))
        self.operators.append(Operator(operator.layer, last, inputs, outputs))
        if tail.pool is not None:
            pool = Pool("max", tail.pool, True, tail.output, tail.output)
            self.operators.append(Operator(operator.layer, pool, outputs, operator.outputs))

    def _depth_of_a_part(self, function: _Sums, data: Tensor, weight: Tensor) -> int:
        """The most channels with which two smallest tiles fit, or at least one; 0 where none does."""
        sums = _sums_of(function, data, weight)
        part = msgspec.structs.replace(function, tail=Tail(add=sums.format, output=sums.format))
        step = max(1, 8 // min(container_bits(data.format.bits), container_bits(weight.format.bits)))
        for tiles in (2, 1):
            size = weight.shape[1]
            while size > step:
                size = ceil_div(ceil_div(size, 2), step) * step
                kinds = _kinds([_of_depth(data, size), _of_depth(weight, size), sums, sums])
                if tiles * _least_bytes(part, kinds) <= self.processor.sram.size_bytes:
                    whole = math.lcm(step, self.processor.matrix.rows)
                    return size // whole * whole or size
        return 0

    def _data_part(self, layer: str, data: Tensor, start: int, stop: int) -> str:
        inner = data.shape[1:]
        name = self._new(f"{data.name}.part", _of_depth(data, stop - start))
        view = View(inner, tuple(range(len(inner))), start, stop)
        self.operators.append(Operator(layer, view, (data.name,), (name,)))
        return name

    def _weight_part(self, weight: Tensor, start: int, stop: int) -> str:
        name = self._new(f"{weight.name}.part", _of_depth(weight, stop - start))
        stored = self.constants.get(weight.name)
        if stored is not None:
            bits, places = container_bits(weight.format.bits), math.prod(weight.shape[2:])
            rows = stored.reshape(weight.shape[0], -1)
            self.constants[name] = rows[:, start * places * bits // 8 : ceil_div(stop * places * bits, 8)].reshape(-1)
        return name

    def _new(self, name: str, like: Tensor) -> str:
        name = unused_name(name, self.tensors)
        self.tensors[name] = Tensor(name, like.shape, like.format, "constant" if like.role == "constant" else "feature")
        return name


def _can_be_cut(function: _Sums, data: Tensor, weight: Tensor) -> bool:
    if weight.role != "constant" or (isinstance(function, Conv) and function.groups > 1):
        return False
    if len(data.shape) != (MAP_RANK if isinstance(function, Conv) else 1) + 1 or data.shape[1] != weight.shape[1]:
        return False
    coded = function.input.is_code and function.weight.is_code
    terms = math.prod(weight.shape[1:])
    # Sums that could leave 32 bits could not be handed on.
    return not coded or largest_integer(function.input) * largest_integer(function.weight) * terms <= _LARGEST_SUM


def _of_depth(tensor: Tensor, depth: int) -> Tensor:
    """One like it, with so many of the channels that are summed over."""
    return msgspec.structs.replace(tensor, shape=(tensor.shape[0], depth, *tensor.shape[2:]))


def _sums_of(function: _Sums, data: Tensor, weight: Tensor) -> Tensor:
    """What the operator has summed up before its tail."""
    sides = function.window.output_size(*data.shape[2:]) if isinstance(function, Conv) else ()
    return Tensor("", (data.shape[0], weight.shape[0], *sides), sums_format(function.input, function.weight))


def _kinds(tensors: Sequence[Tensor]) -> tuple[_Kind, ...]:
    return tuple([(each.shape, each.format, each.role == "constant") for each in tensors])


@lru_cache(maxsize=1 << 12)
def _least_bytes(function: _Sums, kinds: tuple[_Kind, ...]) -> int:
    """The bytes on chip of the smallest tile of an operator on these inputs and this output, the last one."""
    regions = []
    for shape, form, constant in kinds:
        region = place(Tensor("", shape, form, "constant" if constant else "feature"), "dram", 0)
        regions.append(region if constant or isinstance(function, Matmul) else as_map(image_of(region, 0)))
    reads, write = tuple(regions[:-1]), regions[-1]
    rows, step = output_size(function, reads, write)[0], channel_step(function, reads, write)
    # The first and the last row have padding, those between have the most to read.
    tiles = [Tile((row, row + 1), (0, step)) for row in {0, rows // 2, rows - 1}]
    seen = [tile for tile in tiles if reads_rows(function, reads, tile.rows)]
    return max((staged(part_of(function, reads, write, tile))[1] for tile in seen), default=0)
