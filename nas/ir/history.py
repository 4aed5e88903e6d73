"""The accesses of one memory so far -> those that a next one must follow, in time that does not grow with the history.

The memory is cut into **cells**, stretches that were touched together. A dense write makes a cell of its own and forgets
what it covers: whoever meets the forgotten later meets this write as well. Within a cell, the tiles of one tensor are kept
by their rows, so that a tile is compared with those of the same rows alone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from nas.ir.overlap import Box, box_on_grid, boxes_meet, regions_meet
from nas.ir.tensor import Region

_Grid = tuple[tuple[int, ...], int]
_Tile = tuple[Box, "Access"]
# The latest command to be followed of each queue; those before it in its queue are followed with it.
Latest = dict[int, int]


class Access:
    """What one command reads or writes: from the first byte to one past the last; dense: all bytes between.

    Of a queue that reads the same again and again, nobody writing to it in the meantime, the latest is kept alone.
    """

    __slots__ = ("command", "dense", "is_write", "queue", "region", "start", "stop")

    def __init__(
        self, command: int, queue: int, is_write: bool, start: int, stop: int, region: Region, dense: bool
    ) -> None:
        self.command, self.queue, self.is_write = command, queue, is_write
        self.start, self.stop, self.region, self.dense = start, stop, region, dense


# So many tiles of a band are looked through; with more, bands are cut to the fewest rows that a tile has: what is read in
# several rows and written over row by row would never be covered, and never be forgotten.
_MANY = 32


class _Tiles:
    """Boxes on one grid by **band**, so many rows: those written, and those read, since they were last written over."""

    def __init__(self, base_bytes: int, band_rows: int) -> None:
        self.base_bytes, self._band_rows = base_bytes, band_rows
        self._fewest_rows = band_rows
        self._written: dict[int, list[_Tile]] = {}
        self._read: dict[int, list[_Tile]] = {}

    def collect(self, box: Box, is_write: bool, found: Latest) -> None:
        """Put the commands that touch an element of `box` into `found`; only those that write, if it is read."""
        first, stop = box[0][0], box[1][0]
        for bands in self._conflicting(is_write):
            for band in self._touched(box):
                for other, access in reversed(bands.get(band, ())):
                    # Most that lie in the same rows are of other channels.
                    if other[0][0] >= stop or first >= other[1][0] or access.command <= found.get(access.queue, -1):
                        continue
                    if other is box or boxes_meet(box, other):
                        found[access.queue] = access.command

    def add(self, box: Box, access: Access) -> None:
        for band in self._touched(box):
            if access.is_write:
                own_rows = (band * self._band_rows, (band + 1) * self._band_rows)
                for bands in (self._written, self._read):
                    held = bands.get(band)
                    if held:
                        # What comes later is not forgotten: where cells are cut and joined, accesses are told again in
                        # any order.
                        held[:] = [
                            tile
                            for tile in held
                            if tile[1].command > access.command or not _covers(box, tile[0], own_rows)
                        ]
            own = self._written if access.is_write else self._read
            own.setdefault(band, []).append((box, access))
        rows = _rows(box)
        self._fewest_rows = min(self._fewest_rows, rows[1] - rows[0])
        if self._fewest_rows < self._band_rows and len(own[rows[0] // self._band_rows]) > _MANY:
            self._cut_bands()

    def _cut_bands(self) -> None:
        tiles = {tile[1]: tile for bands in (self._written, self._read) for held in bands.values() for tile in held}
        self._band_rows, self._written, self._read = self._fewest_rows, {}, {}
        for access in sorted(tiles, key=lambda each: each.command):
            self.add(*tiles[access])

    def all(self) -> Iterator[Access]:
        return iter(dict.fromkeys(self.conflicting(True)))

    def conflicting(self, is_write: bool) -> Iterator[Access]:
        """The accesses that one may conflict with, some of them more than once."""
        for bands in self._conflicting(is_write):
            for held in bands.values():
                for _, access in held:
                    yield access

    def _conflicting(self, is_write: bool) -> tuple[dict[int, list[_Tile]], ...]:
        return (self._written, self._read) if is_write else (self._written,)

    def _touched(self, box: Box) -> range:
        first, stop = _rows(box)
        return range(first // self._band_rows, -(-stop // self._band_rows))


def _rows(box: Box) -> tuple[int, int]:
    """Half-open."""
    axis = max(len(box[0]) - 2, 0)
    return box[0][axis], box[1][axis]


def _covers(box: Box, other: Box, rows: tuple[int, int]) -> bool:
    """Whether `box` holds all of `other` that lies in these rows."""
    if box is other:
        return True
    (firsts, stops), (firsts_other, stops_other) = box, other
    axis = max(len(firsts) - 2, 0)
    if axis and (firsts_other[0] < firsts[0] or stops[0] < stops_other[0]):
        return False
    for place, first in enumerate(firsts):
        first_other, stop_other = firsts_other[place], stops_other[place]
        if place == axis:
            first_other, stop_other = max(first_other, rows[0]), min(stop_other, rows[1])
        if first_other < first or stops[place] < stop_other:
            return False
    return True


class _Cell:
    """The bytes start..stop and the accesses that are still to be followed there: loose ones and tiles.

    Those that write and those that read are kept apart, since a reader follows the former alone. writes: how many it has seen;
    -1 when it has been replaced by others.
    """

    __slots__ = ("read", "start", "stop", "tiles", "writes", "written")

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.writes = 0
        self.written: list[Access] = []
        self.read: list[Access] = []
        self.tiles: dict[_Grid, _Tiles] = {}

    def collect(self, access: Access, found: Latest) -> None:
        """Put the commands that `access` conflicts with here into `found`."""
        _collect(self.written, access, found)
        if access.is_write:
            _collect(self.read, access, found)
        if not self.tiles:
            return
        own = (access.region.strides, access.region.bits)
        for grid, tiles in self.tiles.items():
            box = box_on_grid(access.region, tiles.base_bytes) if grid == own else None
            if box is not None:
                tiles.collect(box, access.is_write, found)
            else:
                _collect(tiles.conflicting(access.is_write), access, found)

    def add(self, access: Access) -> None:
        """Keep an access: as a tile, if it is one of a tensor that is kept by row."""
        if self.tiles:
            tiles = self.tiles.get((access.region.strides, access.region.bits))
            box = box_on_grid(access.region, tiles.base_bytes) if tiles is not None else None
            if tiles is not None and box is not None:
                tiles.add(box, access)
                return
        (self.written if access.is_write else self.read).append(access)

    def add_tile(self, access: Access) -> None:
        """Keep a strided access, and from now on all others of its tensor, by row."""
        grid = (access.region.strides, access.region.bits)
        if grid not in self.tiles:
            loose = sorted((*self.written, *self.read), key=lambda each: each.command)
            self.tiles[grid] = _Tiles(access.start, access.region.shape[-2:][0])
            self.written, self.read = [], []
            for other in loose:
                self.add(other)
        self.add(access)

    def part(self, start: int, stop: int) -> "_Cell":
        """What is left of the cell between `start` and `stop`."""
        left = _Cell(start, stop)
        for access in self.all():
            if access.start < stop and start < access.stop:
                left.add(access)
        return left

    def all(self) -> list[Access]:
        tiled = (access for tiles in self.tiles.values() for access in tiles.all())
        return [*self.written, *self.read, *tiled]


def _collect(held: Iterable[Access], access: Access, found: Latest) -> None:
    """Those of `held`, all of which it would conflict with, that share a byte with `access`."""
    start, stop, region, dense = access.start, access.stop, access.region, access.dense
    for other in held:
        if other.start >= stop or start >= other.stop or other.command <= found.get(other.queue, -1):
            continue
        if (dense and other.dense) or regions_meet(other.region, region):
            found[other.queue] = other.command


class History:
    """The cells of one memory in the order of their addresses; they do not overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._cells: list[_Cell] = []
        # What each queue has read within one cell: the cell, how many writes that had seen, and the read.
        self._reads: dict[tuple[int, Region], tuple[_Cell, int, Access]] = {}

    def is_read_again(self, command: int, queue: int, region: Region) -> bool:
        """Whether `queue` has read this before and nobody has written near it since; then all is said, but who was last."""
        known = self._reads.get((queue, region))
        if known is None or known[0].writes != known[1]:
            return False
        known[2].command = command
        return True

    def follow(self, access: Access, found: Latest, keep: bool = True) -> None:
        """Put the commands that `access` must follow into `found`, and make it part of the history if it is to `keep`."""
        start, stop = access.start, access.stop
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._cells[first].stop <= start:
            first += 1
        last = bisect_left(self._starts, stop, first)
        touched = self._cells[first:last]
        for cell in touched:
            cell.collect(access, found)
        dense = access.dense
        if not keep and (dense or len(touched) == 1):
            if len(touched) == 1:
                self._reads[access.queue, access.region] = touched[0], touched[0].writes, access
            return  # else the cells become one, which the next readers find at once
        if access.is_write and dense:
            fresh = [_Cell(start, stop)]
            fresh[0].add(access)
            if touched and touched[0].start < start:
                fresh.insert(0, touched[0].part(touched[0].start, start))
            if touched and touched[-1].stop > stop:
                fresh.append(touched[-1].part(stop, touched[-1].stop))
            self._replace(first, last, fresh)
            return
        if dense and _covered(touched, start, stop):
            for cell in touched:
                cell.add(access)
        else:
            cell = touched[0] if len(touched) == 1 else _merged(touched, start, stop)
            cell.start, cell.stop = min(cell.start, start), max(cell.stop, stop)
            cell.add_tile(access)
            cell.writes += access.is_write
            if len(touched) != 1 or self._starts[first] != cell.start:
                self._replace(first, last, [cell])
        if len(touched) == 1 and not access.is_write:
            self._reads[access.queue, access.region] = touched[0], touched[0].writes, access

    def _replace(self, first: int, last: int, cells: list[_Cell]) -> None:
        for old in self._cells[first:last]:
            if old not in cells:
                old.writes = -1
        self._cells[first:last] = cells
        self._starts[first:last] = [cell.start for cell in cells]


def _covered(cells: list[_Cell], start: int, stop: int) -> bool:
    """Whether `cells` hold every byte of start..stop."""
    for cell in cells:
        if cell.start > start:
            return False
        start = cell.stop
    return start >= stop


def _merged(cells: list[_Cell], start: int, stop: int) -> _Cell:
    """One cell for all of them; the tiles of the first that has any stay sorted."""
    merged = next((cell for cell in cells if cell.tiles), _Cell(start, stop))
    known = set(merged.all())
    for cell in cells:
        if cell is not merged:
            fresh = [access for access in cell.all() if access not in known]
            known.update(fresh)
            for access in fresh:
                merged.add(access)
    if cells:
        merged.start, merged.stop = min(start, cells[0].start), max(stop, cells[-1].stop)
    return merged
