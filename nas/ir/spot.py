"""What a walk over the commands of a program keeps: the command that it is at, regions that are touched, and who touched them last."""

from collections.abc import Iterable

from nas.ir.clocks import Clocks
from nas.ir.overlap import Box, box_on_grid, extent
from nas.ir.tensor import Region

Grid = tuple[tuple[int, ...], int]


class Step:
    """A command of a queue. found: the latest command of each queue that it has to follow, -1 for none."""

    __slots__ = ("_clocks", "_known", "command", "found", "queue")

    def __init__(self, command: int, queue: int, clocks: Clocks | None) -> None:
        self.command, self.queue, self._clocks = command, queue, clocks
        self._known = 0 if clocks is None else -1
        self.found = Unordered() if clocks is None else list(clocks.known_by(queue))

    def latest(self) -> Iterable[int]:
        """What was found."""
        return self.found if isinstance(self.found, list) else self.found.values()

    @property
    def known(self) -> int:
        """All commands before this one are followed anyway."""
        if self._known < 0 and self._clocks is not None:
            self._known = self._clocks.all_before(self.queue)
        return self._known


class Unordered(dict[int, int]):
    """What is found where no two commands follow each other just because they are of one queue."""

    def __missing__(self, queue: int) -> int:
        return -1


class Spot:
    """A region: from the first byte to one past the last; dense: all bytes between."""

    __slots__ = ("_base_bytes", "_box", "dense", "region", "start", "stop")

    def __init__(self, region: Region) -> None:
        size_bytes, self.dense = extent(region.shape, region.strides, region.bits)
        self.region = region
        self.start = region.offset_bytes
        self.stop = self.start + size_bytes
        self._base_bytes = -1

    @property
    def grid(self) -> Grid:
        """What tiles of one tensor have in common."""
        return self.region.strides, self.region.bits

    def box(self, base_bytes: int) -> Box | None:
        """See `box_on_grid`; mostly the one that was asked for before."""
        if base_bytes != self._base_bytes:
            self._base_bytes, self._box = base_bytes, box_on_grid(self.region, base_bytes)
        return self._box


class Place:
    """Who touched a spot: the last to write, and by queue who has read since then; newest: the latest command of all."""

    __slots__ = ("newest", "read", "writer", "wrote")

    def __init__(self) -> None:
        self.newest = self.wrote = -1
        self.writer = 0
        self.read: dict[int, int] = {}

    def tell(self, found: list[int] | Unordered, is_write: bool) -> None:
        """Put those that an access conflicts with into `found`."""
        if self.wrote > found[self.writer]:  # noqa: PLR1730 (max() takes longer)
            found[self.writer] = self.wrote
        if is_write:
            for queue, command in self.read.items():
                if command > found[queue]:  # noqa: PLR1730
                    found[queue] = command

    def join(self, other: "Place") -> None:
        """What is known of the same spot elsewhere, as well."""
        self.newest = max(self.newest, other.newest)
        if other.wrote > self.wrote:
            self.writer, self.wrote = other.writer, other.wrote
        for queue, command in other.read.items():
            self.read[queue] = max(command, self.read.get(queue, -1))


# The latest touched is the last.
Places = dict[Spot, Place]
