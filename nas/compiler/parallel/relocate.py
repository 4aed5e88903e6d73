"""Addresses in the dram of one core's own program -> addresses in the dram that all cores share.

inputs, outputs   each is a dense tensor of its own there, and a part of a shared tensor here
all else          the same bytes without the gaps that inputs and outputs leave, from `start_bytes` on
"""

from bisect import bisect_right
from collections.abc import Mapping

from nas.compiler.parallel.box import Box
from nas.compiler.parallel.piece import CannotCut
from nas.compiler.regions import aligned
from nas.ir.command import Command
from nas.ir.program import Binding, Program
from nas.ir.tensor import Region


class CoreDram:
    """Where the dram of one core's program lies in that of all. `end_bytes`: the first free address behind it.

    constants_start: where its constants begin; they lie behind all else, so that cores with equal ones can share them.
    """

    def __init__(
        self,
        program: Program,
        shared: Mapping[str, tuple[str, Box]],
        places: Mapping[str, Region],
        start_bytes: int,
        constants_start: int | None,
    ) -> None:
        self._parts = sorted(
            (_part(binding, shared, places) for binding in (*program.inputs, *program.outputs)),
            key=lambda part: part[0].offset_bytes,
        )
        self._starts = [local.offset_bytes for local, _ in self._parts]
        first = min((binding.region.offset_bytes for binding in program.constants), default=program.used_bytes["dram"])
        self._first_constant = first
        self._start_bytes = start_bytes
        private_bytes = first - self._gaps_below(first)
        behind = aligned(start_bytes + private_bytes)
        self.constants_start = behind if constants_start is None else constants_start
        constant_bytes = program.used_bytes["dram"] - first
        self.end_bytes = aligned(behind + constant_bytes) if constants_start is None else behind

    def moved(self, command: Command) -> Command:
        """The command with its places in the dram of all."""
        reads, writes = (tuple([self.at(region) for region in part]) for part in (command.reads, command.writes))
        return Command(command.engine, command.layer, reads, writes, command.attributes)

    def at(self, region: Region) -> Region:
        """A region with its place in the dram of all; what lies on chip stays as it is."""
        if region.memory != "dram":
            return region
        offset_bytes = region.offset_bytes
        if offset_bytes >= self._first_constant:
            moved = offset_bytes - self._first_constant + self.constants_start
            return Region("dram", moved, region.shape, region.strides, region.bits)
        row = bisect_right(self._starts, offset_bytes) - 1
        if row >= 0 and offset_bytes < self._parts[row][0].end_bytes:
            return as_part(region, *self._parts[row])
        moved = offset_bytes - self._gaps_below(offset_bytes) + self._start_bytes
        return Region("dram", moved, region.shape, region.strides, region.bits)

    def _gaps_below(self, offset_bytes: int) -> int:
        """The bytes of inputs and outputs below an address."""
        below = self._parts[: bisect_right(self._starts, offset_bytes)]
        return sum(aligned(local.end_bytes) - local.offset_bytes for local, _ in below)


def _part(
    binding: Binding, shared: Mapping[str, tuple[str, Box]], places: Mapping[str, Region]
) -> tuple[Region, Region]:
    """An input or output in the core's own dram, and the part of the shared tensor that it is."""
    name, box = shared[binding.name]
    whole, local = places[name], binding.region
    elements = sum(start * stride for (start, _), stride in zip(box, whole.strides, strict=True))
    if elements * whole.bits % 8:
        raise CannotCut(f"{binding.name} begins inside a byte")
    return local, Region(
        "dram", whole.offset_bytes + elements * whole.bits // 8, local.shape, whole.strides, whole.bits
    )


def as_part(region: Region, local: Region, part: Region) -> Region:
    """A region of the dense tensor at `local` as one of `part`, which has the same shape and other strides."""
    if region.bits != part.bits:
        raise CannotCut(f"elements of {region.bits} bits in a tensor of {part.bits}")
    rest = (region.offset_bytes - local.offset_bytes) * 8 // region.bits
    at: list[int] = []
    for stride in local.strides:
        steps, rest = divmod(rest, stride)
        at.append(steps)
    if rest or any(place >= size for place, size in zip(at, local.shape, strict=True)):
        raise CannotCut(f"{region} begins in no element of {local}")
    elements = sum(steps * stride for steps, stride in zip(at, part.strides, strict=True))
    if elements * part.bits % 8:
        raise CannotCut(f"{region} begins inside a byte")
    strides = tuple(
        _stride(size, stride, local, part, at) for size, stride in zip(region.shape, region.strides, strict=True)
    )
    return Region("dram", part.offset_bytes + elements * part.bits // 8, region.shape, strides, part.bits)


def _stride(size: int, stride: int, local: Region, part: Region, at: list[int]) -> int:
    """The stride in `part` of steps of `stride` in `local`, from the element `at` on."""
    if stride == 0:
        return 0
    axes = [axis for axis in range(len(local.strides)) if local.shape[axis] > 1 and stride % local.strides[axis] == 0]
    if not axes:
        axes = [axis for axis in range(len(local.strides)) if stride % local.strides[axis] == 0]
    axis = min(axes, key=lambda axis: (-local.strides[axis], axis))
    steps = stride // local.strides[axis]
    # The steps may run on into the axes around, where these follow one another without a gap in both layouts.
    outer = axis
    reach = at[axis] + (size - 1) * steps
    room = local.shape[axis]
    while reach >= room and outer > 0:
        outer -= 1
        joined = (part.strides[outer], local.strides[outer]) == (
            part.strides[axis] * room,
            local.strides[axis] * room,
        )
        if not joined and local.shape[outer] > 1:
            raise CannotCut(f"steps of {stride} leave a part of a tensor")
        room *= local.shape[outer]
        reach = sum(at[place] * local.strides[place] for place in range(outer, axis + 1)) // local.strides[axis]
        reach += (size - 1) * steps
    if reach >= room:
        raise CannotCut(f"steps of {stride} leave a part of a tensor")
    return steps * part.strides[axis]
