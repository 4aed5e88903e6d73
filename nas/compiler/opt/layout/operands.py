"""Operators with the layouts of what they read and write, apart from where that lies: equal layers are equal here.

Operands   the content: a function, and regions whose memory is a **slot**: the number of the operand
Placed     one operator of a network: its layer, its operands, and the home of each slot
Layout     a whole network
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from nas.compiler.network import Network
from nas.compiler.opt.engines.share import PLAIN, Array
from nas.compiler.opt.engines.spread import Spread, choose_spread
from nas.compiler.opt.layout.alive import Alive, alive_in
from nas.compiler.opt.layout.links import links
from nas.compiler.opt.layout.storage import Storage, assign_storage
from nas.compiler.regions import place
from nas.compiler.tiling import Compute, channel_step, image_operands, output_size, roles
from nas.hw.spec import Processor
from nas.ir.command import Conv, Dataflow, Eltwise, Matmul, Pool
from nas.ir.program import Operator
from nas.ir.tensor import Region
from nas.timing.matrix import ARRAY_DATAFLOWS


@dataclass(frozen=True)
class Operands:
    """A function and the regions of its operands, one set per image (or one for all the rows of a matrix).

    Regions start at 0 of their slots; constants: the slots of weights and tables, which all images share; array: how the array
    works on them, if it does.
    """

    function: Compute
    images: tuple[tuple[tuple[Region, ...], Region], ...]
    constants: frozenset[str]
    array: Array = PLAIN

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.function, self.images, self.array))

    @property
    def spread(self) -> Spread | None:
        """How the constants are laid out, where that is another way than by themselves."""
        return self.array.spread

    @cached_property
    def size(self) -> tuple[int, int]:
        """(rows, channels) of the output."""
        return output_size(self.function, *self.images[0])

    @cached_property
    def channel_step(self) -> int:
        return channel_step(self.function, *self.images[0])

    @cached_property
    def is_channelwise(self) -> bool:
        """Whether each channel of the output depends on one of the data alone."""
        if isinstance(self.function, Conv):
            groups = self.function.groups
            return groups > 1 and self.images[0][0][1].shape[:2] == (groups, 1)
        return isinstance(self.function, Eltwise | Pool)

    @cached_property
    def maps(self) -> tuple[str, ...]:
        """The slots of the first image's maps: all that is no constant."""
        reads, write = self.images[0]
        return tuple(region.memory for region in (*reads, write) if region.memory not in self.constants)

    def streams(self, on_chip: frozenset[str]) -> bool:
        """Whether a map comes from dram or goes there."""
        return any(slot not in on_chip for slot in self.maps)


class Home(NamedTuple):
    """Where a slot lies: the name of a buffer or of a constant, and from which byte of it on."""

    memory: str
    offset_bytes: int


@dataclass(frozen=True)
class Placed:
    """An operator of a network: `operands` of `layer`, whose slots lie in `homes`."""

    layer: str
    operands: Operands
    homes: dict[str, Home]

    def on_chip(self, buffers: Set[str]) -> frozenset[str]:
        """The slots that lie in one of these buffers."""
        return frozenset([slot for slot, home in self.homes.items() if home.memory in buffers])


@dataclass(frozen=True)
class Layout:
    """A network whose tensors have regions. placed: every operator with its operands, None for those that have no tiles:
    views, concats and host operators.
    """

    network: Network
    storage: Storage
    placed: tuple[Placed | None, ...]

    @cached_property
    def alive(self) -> Alive:
        """The buffers that live at each operator."""
        return alive_in(self.network, self.storage)

    @cached_property
    def links(self) -> frozenset[str]:
        """The maps that one operator hands to the next and to nobody else."""
        return links(self.network, self.storage)


def layout_of(
    network: Network,
    in_place: bool = True,
    apart: frozenset[str] = frozenset(),
    spread_for: Processor | None = None,
    dataflows: tuple[Dataflow, ...] = ARRAY_DATAFLOWS,
    like: Layout | None = None,
) -> Layout:
    """Regions for all tensors, and the operands that follow from them; see `assign_storage`.

    spread_for: the processor for whose array weights may be spread; dataflows: those that the array may work in; like: another
    layout of the network, for the same array, to be quicker with the operators whose tensors lie where they do there.
    """
    storage = assign_storage(network, in_place, apart)

    def placed(index: int, operator: Operator) -> Placed | None:
        if not isinstance(operator.function, Conv | Matmul | Eltwise | Pool):
            return None
        if like is not None and all(
            storage.regions.get(name) == like.storage.regions.get(name)
            for name in (*operator.inputs, *operator.outputs)
        ):
            return like.placed[index]
        return _placed(operator, operator.function, network, storage, (spread_for, dataflows))

    return Layout(network, storage, tuple([placed(index, each) for index, each in enumerate(network.operators)]))


def _placed(
    operator: Operator,
    function: Compute,
    network: Network,
    storage: Storage,
    array_of: tuple[Processor | None, tuple[Dataflow, ...]],
) -> Placed:
    is_constant = [name not in storage.regions for name in operator.inputs]
    reads = [
        place(network.tensors[name], name, 0) if constant else storage.regions[name]
        for name, constant in zip(operator.inputs, is_constant, strict=True)
    ]
    write = storage.regions[operator.outputs[0]]
    homes: dict[str, Home] = {}
    images = []
    for number, (parts, target) in enumerate(image_operands(operator, network.tensors, reads, write)):
        slots = [str(place_) if constant else f"{number}.{place_}" for place_, constant in enumerate(is_constant)]
        (written,) = _in_slots((target,), [f"{number}.out"], homes)
        images.append((_in_slots(parts, slots, homes), written))
    constants = frozenset(str(place_) for place_, constant in enumerate(is_constant) if constant)
    spread_for, dataflows = array_of
    spread = None
    if spread_for is not None and not {"weight", "table"}.intersection(
        role for role, fixed in zip(roles(function), is_constant, strict=True) if not fixed
    ):
        spread = choose_spread(function, *images[0], spread_for, dataflows)
    operands = _one_of(Operands(function, tuple(images), constants, Array(spread, dataflows)))
    return Placed(operator.layer, operands, homes)


# Equal operands are one object, which is quick to compare: they are what planning remembers answers by.
@lru_cache(maxsize=1 << 12)
def _one_of(operands: Operands) -> Operands:
    return operands


def _in_slots(regions: Sequence[Region], slots: list[str], homes: dict[str, Home]) -> tuple[Region, ...]:
    homes.update({slot: Home(each.memory, each.offset_bytes) for slot, each in zip(slots, regions, strict=True)})
    return tuple(
        [Region(slot, 0, each.shape, each.strides, each.bits) for slot, each in zip(slots, regions, strict=True)]
    )
