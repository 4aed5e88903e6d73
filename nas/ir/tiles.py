"""Spots of one tensor, kept by their rows: a tile is compared with those of the same rows alone.

What is read in several rows and written over row by row is covered in each of them, and forgotten there, whoever wrote which.
"""

from nas.ir.overlap import Box, boxes_meet
from nas.ir.spot import Place, Places, Spot, Step

# With so many tiles in a band it is time to forget those that have been written over, and to cut bands to the fewest rows that
# a tile has: what is read in several rows and written over row by row would never be covered, and never be forgotten.
_MANY = 32
# So few are looked through without asking which of them are worth it.
FEW = 4


class Tiles:
    """Spots on one grid by **band**, so many rows."""

    def __init__(self, base_bytes: int, band_rows: int) -> None:
        self.base_bytes, self._band_rows = base_bytes, band_rows
        self._fewest_rows = band_rows
        self._bands: dict[int, dict[Spot, tuple[Box, Place]]] = {}
        self._enough: dict[int, int] = {}
        self._is_read_by_many = False
        self.spots: Places = {}

    def collect(self, box: Box, step: Step, is_write: bool) -> None:
        """Let a step that touches `box` find what it conflicts with."""
        first, stop = box[0][0], box[1][0]
        found = step.found
        for band in self._touched(box):
            held = self._bands.get(band, _NO_TILES)
            known = step.known if len(held) > FEW else 0
            for other, place in held.values():
                # Most that lie in the same rows are of other channels.
                if other[0][0] >= stop or first >= other[1][0] or place.newest < known:
                    continue
                if (is_write or place.wrote > found[place.writer]) and (other is box or boxes_meet(box, other)):
                    place.tell(found, is_write)

    def put(self, spot: Spot, box: Box, place: Place, is_write: bool) -> None:
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


_NO_TILES: dict[Spot, tuple[Box, Place]] = {}


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
