"""The accesses of one memory so far -> those that a next one must follow, in time that does not grow with the history.

What is touched again and again are the same few regions, **spots**: of each the latest commands of every queue are known, and
a write makes those before it forgotten, since whoever meets them meets the write as well.

The memory is cut into **cells**, stretches that were touched together. A dense write makes a cell of its own and forgets
what it covers. Within a cell, the spots of one tensor, its **tiles**, are kept by their rows.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from nas.ir.overlap import Box, regions_meet
from nas.ir.spot import Grid, Place, Places, Spot, Step
from nas.ir.tiles import FEW, Tiles


class _Cell:
    """The bytes start..stop and what is still to be followed there: loose spots and tiles.

    writes: how many it has seen; -1 when it has been replaced by others.
    """

    __slots__ = ("loose", "start", "stop", "tiles", "writes")

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.writes = 0
        self.loose: Places = {}
        self.tiles: dict[Grid, Tiles] = {}

    def collect(self, spot: Spot, step: Step, is_write: bool) -> None:
        """Let a step that touches `spot` find what it conflicts with here."""
        if self.loose:
            _collect(self.loose, spot, step, is_write)
        if not self.tiles:
            return
        own = spot.grid
        for grid, tiles in self.tiles.items():
            box = spot.box(tiles.base_bytes) if grid == own else None
            if box is not None:
                tiles.collect(box, step, is_write)
            else:
                _collect(tiles.spots, spot, step, is_write)

    def touch(self, spot: Spot, step: Step, is_write: bool) -> None:
        """Keep an access: as a tile, if it is one of a tensor that is kept by row."""
        tile = self._tile(spot) if self.tiles else None
        held = self.loose if tile is None else tile[0].spots
        place = held.get(spot)
        if place is None:
            place = held[spot] = Place()
        elif len(held) > 1:
            del held[spot]
            held[spot] = place
        place.newest = step.command
        if not is_write:
            place.read[step.queue] = step.command
        else:
            place.writer, place.wrote = step.queue, step.command
            if place.read:
                place.read = {}
        if tile is not None:
            tile[0].put(spot, tile[1], place, is_write)

    def keep_by_row(self, spot: Spot) -> None:
        """Keep a strided spot, and from now on all others of its tensor, by row."""
        if spot.grid not in self.tiles:
            # Mostly a tensor begins where the cell does.
            base_bytes = self.start if spot.box(self.start) is not None else spot.start
            self.tiles[spot.grid] = Tiles(base_bytes, spot.region.shape[-2:][0])
            loose, self.loose = self.loose, {}
            for other, place in loose.items():
                self._put(other, place)

    def part(self, start: int, stop: int) -> "_Cell":
        """What is left of the cell between `start` and `stop`."""
        left = _Cell(start, stop)
        left.loose = {spot: place for spot, place in self._in_order() if spot.start < stop and start < spot.stop}
        return left

    def join(self, others: "list[_Cell]") -> None:
        """Keep what other cells hold, too."""
        known = self.all()
        for cell in others:
            for spot, place in cell.all().items():
                mine = known.setdefault(spot, place)
                if mine is not place:
                    mine.join(place)
        self.loose = {}
        for tiles in self.tiles.values():
            tiles.spots.clear()
        for spot, place in _in_order(known):
            self._put(spot, place)

    def all(self) -> Places:
        """In no order."""
        if not self.tiles:
            return self.loose
        known = dict(self.loose)
        for tiles in self.tiles.values():
            known |= tiles.spots
        return known

    def _in_order(self) -> Iterable[tuple[Spot, Place]]:
        return _in_order(self.all()) if self.tiles else self.loose.items()

    def _put(self, spot: Spot, place: Place) -> None:
        tile = self._tile(spot) if self.tiles else None
        if tile is not None:
            tile[0].put(spot, tile[1], place, is_write=False)
        else:
            self.loose[spot] = place

    def _tile(self, spot: Spot) -> tuple[Tiles, Box] | None:
        """The tiles among which a spot is kept by its rows, and the box that it is there."""
        tiles = self.tiles.get(spot.grid)
        box = None if tiles is None else spot.box(tiles.base_bytes)
        return None if tiles is None or box is None else (tiles, box)


def _in_order(places: Places) -> list[tuple[Spot, Place]]:
    return sorted(places.items(), key=lambda item: item[1].newest)


def _collect(held: Places, spot: Spot, step: Step, is_write: bool) -> None:
    """Let a step find those of `held` that share a byte with `spot`, and conflict with it."""
    start, stop, dense, found = spot.start, spot.stop, spot.dense, step.found
    known = step.known if len(held) > FEW else 0
    for other, place in reversed(held.items()):
        if place.newest < known:
            break
        if other.start >= stop or start >= other.stop or not (is_write or place.wrote > found[place.writer]):
            continue
        if (dense and other.dense) or other is spot or regions_meet(other.region, spot.region):
            place.tell(found, is_write)


class History:
    """The cells of one memory in the order of their addresses; they do not overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._cells: list[_Cell] = []
        # What each queue has read lately: the cell that it lies in, and how many writes that had seen.
        self._reads: dict[tuple[int, Spot], tuple[_Cell, int]] = {}

    def is_read_again(self, spot: Spot, step: Step) -> bool:
        """Whether its queue has read this before and nobody has written near it since; then all is said, but who was last."""
        known = self._reads.get((step.queue, spot))
        if known is None or known[0].writes != known[1]:
            return False
        known[0].touch(spot, step, is_write=False)
        return True

    def follow(self, spot: Spot, step: Step, is_write: bool, keep: bool = True) -> None:
        """Let a step find what it must follow for touching `spot`, and make it part of the history if it is to `keep`."""
        start, stop = spot.start, spot.stop
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._cells[first].stop <= start:
            first += 1
        last = bisect_left(self._starts, stop, first)
        touched = self._cells[first:last]
        for cell in touched:
            cell.collect(spot, step, is_write)
        if not keep and (spot.dense or len(touched) == 1):
            if len(touched) == 1:
                self._reads[step.queue, spot] = touched[0], touched[0].writes
            return  # else the cells become one, which the next readers find at once
        if is_write and spot.dense:
            fresh = [_Cell(start, stop)]
            fresh[0].touch(spot, step, is_write)
            if touched and touched[0].start < start:
                fresh.insert(0, touched[0].part(touched[0].start, start))
            if touched and touched[-1].stop > stop:
                fresh.append(touched[-1].part(stop, touched[-1].stop))
            self._replace(first, last, fresh)
            return
        if spot.dense and _covered(touched, start, stop):
            for cell in touched:
                cell.touch(spot, step, is_write)
            if len(touched) == 1:
                self._reads[step.queue, spot] = touched[0], touched[0].writes
            return
        cell = touched[0] if len(touched) == 1 else _merged(touched, start, stop)
        cell.start, cell.stop = min(cell.start, start), max(cell.stop, stop)
        cell.keep_by_row(spot)
        cell.touch(spot, step, is_write)
        cell.writes += is_write
        if len(touched) != 1 or self._starts[first] != cell.start:
            self._replace(first, last, [cell])
        if not is_write:
            self._reads[step.queue, spot] = cell, cell.writes

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
    merged.join([cell for cell in cells if cell is not merged])
    if cells:
        merged.start, merged.stop = min(start, cells[0].start), max(stop, cells[-1].stop)
    return merged
