"""The accesses of one memory so far -> those that a next one must follow, in time that does not grow with the history.

What is touched again and again are the same few regions, **spots**: of each the latest commands of every queue are known, and
a write makes those before it forgotten, since whoever meets them meets the write as well.

The memory is cut into **cells**, stretches that were touched together. A dense write makes a cell of its own and forgets
what it covers. Within a cell, the spots of one tensor, its tiles, are kept by their rows, so that a tile is compared with
those of the same rows alone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from nas.ir.clocks import Clocks
from nas.ir.overlap import Box, box_on_grid, boxes_meet, extent, regions_meet
from nas.ir.tensor import Region

_Grid = tuple[tuple[int, ...], int]


class Step:
    """A command of a queue. found: the latest command of each queue that it has to follow, -1 for none."""

    __slots__ = ("_clocks", "_known", "command", "found", "queue")

    def __init__(self, command: int, queue: int, clocks: Clocks | None) -> None:
        self.command, self.queue, self._clocks = command, queue, clocks
        self._known = 0 if clocks is None else -1
        self.found = _Unordered() if clocks is None else list(clocks.known_by(queue))

    def latest(self) -> Iterable[int]:
        """What was found."""
        return self.found if isinstance(self.found, list) else self.found.values()

    @property
    def known(self) -> int:
        """All commands before this one are followed anyway."""
        if self._known < 0 and self._clocks is not None:
            self._known = self._clocks.all_before(self.queue)
        return self._known


class _Unordered(dict[int, int]):
    """What is found where no two commands follow each other just because they are of one queue."""

    def __missing__(self, queue: int) -> int:
        return -1


class Spot:
    """A region: from the first byte to one past the last; dense: all bytes between.

    reads: for each queue that has read it lately, the cell that it lies in and how many writes that had seen.
    """

    __slots__ = ("_base_bytes", "_box", "dense", "reads", "region", "start", "stop")

    def __init__(self, region: Region) -> None:
        size_bytes, self.dense = extent(region.shape, region.strides, region.bits)
        self.region = region
        self.start = region.offset_bytes
        self.stop = self.start + size_bytes
        self.reads: dict[int, tuple[_Cell, int]] = {}
        self._base_bytes = -1

    @property
    def grid(self) -> _Grid:
        """What tiles of one tensor have in common."""
        return self.region.strides, self.region.bits

    def box(self, base_bytes: int) -> Box | None:
        """See `box_on_grid`; mostly the one that was asked for before."""
        if base_bytes != self._base_bytes:
            self._base_bytes, self._box = base_bytes, box_on_grid(self.region, base_bytes)
        return self._box


class _Place:
    """Who touched a spot: the last to write, and by queue who has read since then; newest: the latest command of all."""

    __slots__ = ("newest", "read", "writer", "wrote")

    def __init__(self) -> None:
        self.newest = self.wrote = -1
        self.writer = 0
        self.read: dict[int, int] = {}

    def tell(self, found: "list[int] | _Unordered", is_write: bool) -> None:
        """Put those that an access conflicts with into `found`."""
        if self.wrote > found[self.writer]:  # noqa: PLR1730 (max() takes longer)
            found[self.writer] = self.wrote
        if is_write:
            for queue, command in self.read.items():
                if command > found[queue]:  # noqa: PLR1730
                    found[queue] = command

    def join(self, other: "_Place") -> None:
        """What is known of the same spot elsewhere, as well."""
        self.newest = max(self.newest, other.newest)
        if other.wrote > self.wrote:
            self.writer, self.wrote = other.writer, other.wrote
        for queue, command in other.read.items():
            self.read[queue] = max(command, self.read.get(queue, -1))


# The latest touched is the last.
_Places = dict[Spot, _Place]

# With so many tiles in a band it is time to forget those that have been written over, and to cut bands to the fewest rows that
# a tile has: what is read in several rows and written over row by row would never be covered, and never be forgotten.
_MANY = 32
# So few are looked through without asking which of them are worth it.
_FEW = 4


class _Tiles:
    """Spots on one grid by **band**, so many rows."""

    def __init__(self, base_bytes: int, band_rows: int) -> None:
        self.base_bytes, self._band_rows = base_bytes, band_rows
        self._fewest_rows = band_rows
        self._bands: dict[int, dict[Spot, tuple[Box, _Place]]] = {}
        self._enough: dict[int, int] = {}
        self._is_read_by_many = False
        self.spots: _Places = {}

    def collect(self, box: Box, step: Step, is_write: bool) -> None:
        """Let a step that touches `box` find what it conflicts with."""
        first, stop = box[0][0], box[1][0]
        found = step.found
        for band in self._touched(box):
            held = self._bands.get(band, _NO_TILES)
            known = step.known if len(held) > _FEW else 0
            for other, place in held.values():
                # Most that lie in the same rows are of other channels.
                if other[0][0] >= stop or first >= other[1][0] or place.newest < known:
                    continue
                if (is_write or place.wrote > found[place.writer]) and (other is box or boxes_meet(box, other)):
                    place.tell(found, is_write)

    def put(self, spot: Spot, box: Box, place: _Place, is_write: bool) -> None:
        """Keep a spot, which may have been forgotten in some of its rows."""
        is_full = False
        self.spots[spot] = place
        self._is_read_by_many |= len(place.read) > _MANY
        for band in self._touched(box):
            held = self._bands.setdefault(band, {})
            held[spot] = box, place
            if self._is_read_by_many or len(held) > self._enough.get(band, _MANY):
                is_full = True
                if is_write:
                    self._forget(band, spot, box)
        first, stop = _rows(box)
        self._fewest_rows = min(self._fewest_rows, stop - first)
        if is_full and self._fewest_rows < self._band_rows:
            self._cut_bands()

    def _forget(self, band: int, spot: Spot, box: Box) -> None:
        """Forget what a write covers in a band, and look again when there is twice as much."""
        rows = (band * self._band_rows, (band + 1) * self._band_rows)
        held = self._bands[band]
        gone = [(other, known) for other, (known, _) in held.items() if other is not spot and _covers(box, known, rows)]
        for other, known in gone:
            del held[other]
            if not any(other in self._bands.get(each, _NO_TILES) for each in self._touched(known)):
                del self.spots[other]
        self._enough[band] = max(_MANY, 2 * len(held))

    def _cut_bands(self) -> None:
        known = {spot: tile for held in self._bands.values() for spot, tile in held.items()}
        self._band_rows, self._bands, self._enough = self._fewest_rows, {}, {}
        for spot, (box, place) in known.items():
            self.put(spot, box, place, is_write=False)

    def _touched(self, box: Box) -> range:
        first, stop = _rows(box)
        return range(first // self._band_rows, -(-stop // self._band_rows))


_NO_TILES: dict[Spot, tuple[Box, _Place]] = {}


def _rows(box: Box) -> tuple[int, int]:
    """Half-open."""
    axis = max(len(box[0]) - 2, 0)
    return box[0][axis], box[1][axis]


def _covers(box: Box, other: Box, rows: tuple[int, int]) -> bool:
    """Whether `box` holds all of `other` that lies in these rows."""
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
    """The bytes start..stop and what is still to be followed there: loose spots and tiles.

    writes: how many it has seen; -1 when it has been replaced by others.
    """

    __slots__ = ("loose", "start", "stop", "tiles", "writes")

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.writes = 0
        self.loose: _Places = {}
        self.tiles: dict[_Grid, _Tiles] = {}

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
            place = held[spot] = _Place()
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
            self.tiles[spot.grid] = _Tiles(base_bytes, spot.region.shape[-2:][0])
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

    def all(self) -> _Places:
        """In no order."""
        if not self.tiles:
            return self.loose
        known = dict(self.loose)
        for tiles in self.tiles.values():
            known |= tiles.spots
        return known

    def _in_order(self) -> Iterable[tuple[Spot, _Place]]:
        return _in_order(self.all()) if self.tiles else self.loose.items()

    def _put(self, spot: Spot, place: _Place) -> None:
        tile = self._tile(spot) if self.tiles else None
        if tile is not None:
            tile[0].put(spot, tile[1], place, is_write=False)
        else:
            self.loose[spot] = place

    def _tile(self, spot: Spot) -> tuple[_Tiles, Box] | None:
        """The tiles among which a spot is kept by its rows, and the box that it is there."""
        tiles = self.tiles.get(spot.grid)
        box = None if tiles is None else spot.box(tiles.base_bytes)
        return None if tiles is None or box is None else (tiles, box)


def _in_order(places: _Places) -> list[tuple[Spot, _Place]]:
    return sorted(places.items(), key=lambda item: item[1].newest)


def _collect(held: _Places, spot: Spot, step: Step, is_write: bool) -> None:
    """Let a step find those of `held` that share a byte with `spot`, and conflict with it."""
    start, stop, dense, found = spot.start, spot.stop, spot.dense, step.found
    known = step.known if len(held) > _FEW else 0
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

    def is_read_again(self, spot: Spot, step: Step) -> bool:
        """Whether its queue has read this before and nobody has written near it since; then all is said, but who was last."""
        known = spot.reads.get(step.queue)
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
                spot.reads[step.queue] = touched[0], touched[0].writes
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
                spot.reads[step.queue] = touched[0], touched[0].writes
            return
        cell = touched[0] if len(touched) == 1 else _merged(touched, start, stop)
        cell.start, cell.stop = min(cell.start, start), max(cell.stop, stop)
        cell.keep_by_row(spot)
        cell.touch(spot, step, is_write)
        cell.writes += is_write
        if len(touched) != 1 or self._starts[first] != cell.start:
            self._replace(first, last, [cell])
        if not is_write:
            spot.reads[step.queue] = cell, cell.writes

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
