"""The accesses of one memory so far -> those that a next one must follow, in time that does not grow with the history.

The memory is cut into **cells**, stretches that were touched together. A dense write makes a cell of its own and forgets
what it covers: whoever meets the forgotten later meets this write as well. Within a cell, the tiles of one tensor are kept
by their rows, so that a tile is compared with those of the same rows alone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nas.ir.overlap import Box, box_on_grid, boxes_meet, regions_meet
from nas.ir.tensor import Region

_Grid = tuple[tuple[int, ...], int]


# The latest command to be followed of each queue; those before it in its queue are followed with it.
Latest = dict[int, int]


class Access(NamedTuple):
    """What one command reads or writes: from the first byte to one past the last; dense: all bytes between."""

    command: int
    queue: int
    is_write: bool
    start: int
    stop: int
    region: Region
    dense: bool


class _Tiles:
    """Boxes on one grid by **band**, so many rows: those written, and those read, since they were last written over."""

    def __init__(self, base_bytes: int, band_rows: int) -> None:
        self.base_bytes, self._band_rows = base_bytes, band_rows
        self._bands: dict[int, list[tuple[Box, Access]]] = {}

    def collect(self, box: Box, is_write: bool, found: Latest) -> None:
        """Put the commands that touch an element of `box` into `found`; only those that write, if it is read."""
        for band in self._touched(box):
            for other, access in reversed(self._bands.get(band, ())):
                if not (is_write or access.is_write) or access.command <= found.get(access.queue, -1):
                    continue
                if boxes_meet(box, other):
                    found[access.queue] = access.command

    def add(self, box: Box, access: Access) -> None:
        for band in self._touched(box):
            held = self._bands.setdefault(band, [])
            if access.is_write and held:
                rows = (band * self._band_rows, (band + 1) * self._band_rows)
                # What comes later is not forgotten: where cells are cut and joined, accesses are told again in any order.
                held[:] = [
                    entry for entry in held if entry[1].command > access.command or not _covers(box, entry[0], rows)
                ]
            held.append((box, access))

    def all(self) -> Iterator[Access]:
        return iter(dict.fromkeys([access for held in self._bands.values() for _, access in held]))

    def _touched(self, box: Box) -> range:
        first, stop = box[0], box[1]
        axis = max(len(first) - 2, 0)
        return range(first[axis] // self._band_rows, -(-stop[axis] // self._band_rows))


def _covers(box: Box, other: Box, rows: tuple[int, int]) -> bool:
    """Whether `box` holds all of `other` that lies in these rows."""
    axis = max(len(box[0]) - 2, 0)
    for place, (first, stop, first_other, stop_other) in enumerate(zip(*box, *other, strict=True)):
        if place == axis:
            first_other, stop_other = max(first_other, rows[0]), min(stop_other, rows[1])  # noqa: PLW2901
        if first_other < first or stop < stop_other:
            return False
    return True


class _Cell:
    """The bytes start..stop and the accesses that are still to be followed there."""

    __slots__ = ("loose", "start", "stop", "tiles")

    def __init__(self, start: int, stop: int, loose: list[Access]) -> None:
        self.start, self.stop, self.loose = start, stop, loose
        self.tiles: dict[_Grid, _Tiles] = {}

    def collect(self, access: Access, found: Latest) -> None:
        """Put the commands that `access` conflicts with here into `found`."""
        _collect(self.loose, access, found)
        own = (access.region.strides, access.region.bits)
        for grid, tiles in self.tiles.items():
            box = box_on_grid(access.region, tiles.base_bytes) if grid == own else None
            if box is not None:
                tiles.collect(box, access.is_write, found)
            else:
                _collect(tiles.all(), access, found)

    def add(self, access: Access) -> None:
        """Keep an access: as a tile, if it is one of a tensor that is kept by row."""
        tiles = self.tiles.get((access.region.strides, access.region.bits))
        box = box_on_grid(access.region, tiles.base_bytes) if tiles is not None else None
        if tiles is not None and box is not None:
            tiles.add(box, access)
        else:
            self.loose.append(access)

    def add_tile(self, access: Access) -> None:
        """Keep a strided access, and from now on all others of its tensor, by row."""
        grid = (access.region.strides, access.region.bits)
        if grid not in self.tiles:
            self.tiles[grid] = _Tiles(access.start, access.region.shape[-2:][0])
            loose, self.loose = self.loose, []
            for other in loose:
                self.add(other)
        self.add(access)

    def part(self, start: int, stop: int) -> "_Cell":
        """What is left of the cell between `start` and `stop`."""
        return _Cell(start, stop, [each for each in self.all() if each.start < stop and start < each.stop])

    def all(self) -> list[Access]:
        return [*self.loose, *(access for tiles in self.tiles.values() for access in tiles.all())]


def _collect(held: Iterable[Access], access: Access, found: Latest) -> None:
    _, _, is_write, start, stop, region, dense = access
    for command, queue, was_write, other_start, other_stop, other, was_dense in held:
        if other_start >= stop or start >= other_stop or not (is_write or was_write):
            continue
        if command > found.get(queue, -1) and ((dense and was_dense) or regions_meet(other, region)):
            found[queue] = command


class History:
    """The cells of one memory in the order of their addresses; they do not overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._cells: list[_Cell] = []

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
            return  # else the cells become one, which the next readers find at once
        if access.is_write and dense:
            fresh = [_Cell(start, stop, [access])]
            if touched and touched[0].start < start:
                fresh.insert(0, touched[0].part(touched[0].start, start))
            if touched and touched[-1].stop > stop:
                fresh.append(touched[-1].part(stop, touched[-1].stop))
            self._replace(first, last, fresh)
        elif dense and _covered(touched, start, stop):
            for cell in touched:
                cell.add(access)
        else:
            cell = touched[0] if len(touched) == 1 else _merged(touched, start, stop)
            cell.start, cell.stop = min(cell.start, start), max(cell.stop, stop)
            cell.add_tile(access)
            self._replace(first, last, [cell])

    def _replace(self, first: int, last: int, cells: list[_Cell]) -> None:
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
    merged = next((cell for cell in cells if cell.tiles), _Cell(start, stop, []))
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
