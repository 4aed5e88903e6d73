"""A stretch of operators, shared out in some way -> about how many cycles it takes, without planning or simulating it.

Compute is that of one core, operator by operator; transfers are those of all cores through the one dram: constants, what
each core fetches of the maps from before the stretch, what it leaves behind. The two overlap; what is exchanged at the
ends of the stretch does not, in part, since others wait for it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from nas.compiler.network import Network
from nas.compiler.parallel.box import Box, box_shape, hull, whole_box
from nas.compiler.parallel.cut import Cut, cut
from nas.compiler.parallel.partition import Partition, Way, share_of
from nas.compiler.regions import ROWS_RANK, aligned
from nas.compiler.tiling import Part, part_cycles
from nas.hw.spec import Processor
from nas.ir.command import Conv, Eltwise, Host, Matmul, Pool
from nas.ir.tensor import Region, container_bits, dense
from nas.timing.cycles import dma_latency_cycles, host_cycles, transfer_cycles
from nas.timing.traffic import Work

# Of what is exchanged at the ends of a stretch so much is waited for.
_EXPOSED = 1.0
# Of the shorter of compute and transfers so much does not overlap with the longer. Both shares are those with which the
# estimates chose the partitions that simulated fastest, on MobileNetV2, ResNet-18 and ShuffleNetV2 over 4 cores.
_LOST = 0.25
# A store, a token and a load between two stretches.
_EXCHANGE_LATENCIES = 4


@dataclass
class Estimator:
    """Estimates for one network and one division of the cores."""

    network: Network
    processor: Processor
    partition: Partition
    _cuts: dict[tuple[int, Box], tuple[Cut, int, int]] = field(default_factory=dict)
    _shares: dict[tuple[str, Way], Box] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._users = self.network.users
        self._makers = {name: i for i, each in enumerate(self.network.operators) for name in each.outputs}

    def backwards(self, last: int, way: Way, most: int) -> Iterator[tuple[int, float]]:
        """(first, cycles) of the stretches first..last - 1 of up to `most` operators, while they can be shared out so.

        Those of a "stage" are of one chunk of images.
        """
        needed: dict[str, Box] = {}
        compute_cycles = constant_bytes = left_bytes = 0
        workers = self._workers(way)
        for first in range(last - 1, max(-1, last - 1 - most), -1):
            operator = self.network.operators[first]
            if isinstance(operator.function, Host) and way != "whole":
                return
            for name in operator.outputs:
                goal = self._goal(name, way, last)
                if goal is not None:
                    left_bytes += self._bytes(name, goal)
                    needed[name] = hull(needed.get(name), goal)
            if any(name in needed for name in operator.outputs):
                whole = whole_box(self.network.tensors[operator.outputs[0]].shape)
                wanted = needed[operator.outputs[0]] if len(operator.outputs) == 1 else whole
                made, cycles, constants = self._cut(first, wanted)
                compute_cycles += cycles
                constant_bytes += constants
                for name, need in zip(operator.inputs, made.needs, strict=True):
                    if not isinstance(need, Region):
                        needed[name] = hull(needed.get(name), need)
            fetched = sum(self._bytes(name, box) for name, box in needed.items() if self._makers.get(name, -1) < first)
            exchanged = transfer_cycles(workers * (fetched + left_bytes), self.processor)
            moved = transfer_cycles(workers * (fetched + left_bytes + constant_bytes), self.processor)
            latency = _EXCHANGE_LATENCIES * dma_latency_cycles(self.processor)
            lost = _LOST * min(compute_cycles, moved)
            yield first, max(compute_cycles, moved) + lost + _EXPOSED * exchanged + latency

    def _workers(self, way: Way) -> int:
        if way == "whole":
            return 1
        if way == "stage":
            return 1
        return self.partition.groups if way == "alone" else self.partition.cores

    def _goal(self, name: str, way: Way, last: int) -> Box | None:
        """What a typical core leaves of a tensor; None if nobody needs it behind operator last - 1."""
        if name not in self.network.outputs and all(user < last for user in self._users.get(name, ())):
            return None
        if (name, way) not in self._shares:
            boxes = share_of(self.network, name, way, self.partition)
            # The second, where there is one: those at the ends have less halo.
            full = [box for box in boxes[:2] if all(start < stop for start, stop in box)]
            self._shares[name, way] = full[-1]
        return self._shares[name, way]

    def _bytes(self, name: str, box: Box) -> int:
        return -(-math.prod(box_shape(box)) * container_bits(self.network.tensors[name].format.bits) // 8)

    def _cut(self, index: int, wanted: Box) -> tuple[Cut, int, int]:
        """The cut with its cycles on an engine and the bytes of its constants."""
        key = (index, wanted)
        if key not in self._cuts:
            made = cut(self.network.operators[index], self.network, wanted)
            constants = sum(aligned(need.payload_bytes) for need in made.needs if isinstance(need, Region))
            self._cuts[key] = (made, self._cycles(index, made), constants)
        return self._cuts[key]

    def _cycles(self, index: int, made: Cut) -> int:
        operator, function = self.network.operators[index], made.function
        if isinstance(function, Host):
            elements = sum(
                math.prod(self.network.tensors[name].shape) for name in (*operator.inputs, *operator.outputs)
            )
            return host_cycles(Work(0, 0, elements), self.processor)
        if not isinstance(function, Conv | Matmul | Eltwise | Pool):
            return 0
        reads = tuple(
            need if isinstance(need, Region) else self._image(name, need)
            for name, need in zip(operator.inputs, made.needs, strict=True)
        )
        write = self._image(operator.outputs[0], made.made)
        times = 1 if len(made.made) == ROWS_RANK else made.made[0][1] - made.made[0][0]
        return part_cycles(Part(function, reads, write), self.processor) * times

    def _image(self, name: str, box: Box) -> Region:
        """A part of a tensor on chip: all images of a matrix, one of a map."""
        shape = box_shape(box)
        shape = shape if len(shape) == ROWS_RANK else (*(1,) * (4 - len(shape)), *shape[1:])
        return dense("sram", 0, shape, container_bits(self.network.tensors[name].format.bits))
