"""Steps and the buffers that they touch -> an order of the steps in which few bytes live at a time.

A buffer lives from the first step that touches it to the last. What lives behind a set of steps does not depend on their
order, so that of all orders of one set only the best need be carried on: dynamic programming over the sets of steps that
can be done first, one step more at a time (B. Ahn et al., "Ordering chaos", MLSys 2020, arXiv 2003.02369). Unlike there, a
step that frees as much as it takes, below a peak that is there anyway, is done at once: no order gains by putting it off.
Where there are more sets of one size than `width` the best are kept, and the answer is a good order instead of the best.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar


class Step(NamedTuple):
    """after: the steps that come before it, and buffers: those that it touches, both by number."""

    after: frozenset[int]
    buffers: frozenset[int]


class Price(NamedTuple):
    """What an order costs; less of the first counts more than less of the others.

    peak_bytes: the most that live during a step; sum_bytes: what lives behind each step, of all steps; jumps: the steps that
    don't depend on the one right before them.
    """

    peak_bytes: int
    sum_bytes: int
    jumps: int


class _State(NamedTuple):
    """After some steps: what lives, the steps that can be next (bits), the price so far, the last step, and the state before it."""

    live_bytes: int
    ready: int
    price: Price
    last: int
    before: "_State | None"


_Key = TypeVar("_Key")
_Rank = Callable[[Price], tuple[int, int, int]]


class Orders:
    """The orders of some steps. sizes_bytes: of each buffer; held: the buffers that live before the first step already;
    kept: those that live on behind the last one; bound_bytes: no order has a lower peak.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        sizes_bytes: Sequence[int],
        held: frozenset[int] = frozenset(),
        kept: frozenset[int] = frozenset(),
    ) -> None:
        self._after = [_bits(step.after) for step in steps]
        self._followers = [0] * len(steps)
        touching: dict[int, int] = {}
        for number, step in enumerate(steps):
            for other in step.after:
                self._followers[other] |= 1 << number
            for buffer in step.buffers:
                touching[buffer] = touching.get(buffer, 0) | 1 << number
        # Of what a step touches: who else does; what it adds where none has yet; what it frees where all others have.
        self._touches = [
            [
                (
                    touching[each],
                    0 if each in held else sizes_bytes[each],
                    0 if each in kept else sizes_bytes[each],
                )
                for each in sorted(step.buffers)
            ]
            for step in steps
        ]
        self._held_bytes = sum(sizes_bytes[each] for each in held)
        through = held & kept
        needs_bytes = (sum(sizes_bytes[each] for each in step.buffers | through) for step in steps)
        self.bound_bytes = max(self._held_bytes, *needs_bytes, 0)

    def price(self, order: Iterable[int]) -> Price:
        """Of the steps in this order."""
        state, done = self._start(0), 0
        for number in order:
            state, done = self._then(state, done, number), done | 1 << number
        return state.price

    def lowest(self, width: int, floor_bytes: int = 0) -> tuple[int, ...]:
        """The order of the lowest peak, the first of those with the least sum that is met on the way; peaks up to `floor_bytes`
        are as good as each other.
        """
        start = self._start(max(floor_bytes, self.bound_bytes))
        layer = {0: start}
        for _ in self._after:
            following: dict[int, _State] = {}
            for done, state in layer.items():
                for then in self._next(state, done):
                    now = done | 1 << then.last
                    if now not in following or then.price < following[now].price:
                        following[now] = then
            layer = _best(following, width, _by_peak)
        (state,) = layer.values()
        return _order(state)

    def straightest(self, width: int, limit_bytes: int, most_jumps: int) -> tuple[int, ...] | None:
        """The order with the fewest jumps, up to so many, of those with peaks up to `limit_bytes`; None where none is found."""
        layer = {(0, -1): self._start(0)}
        for _ in self._after:
            following: dict[tuple[int, int], _State] = {}
            for (done, _), state in layer.items():
                for then in self._each(state, done):
                    if then.price.peak_bytes > limit_bytes or then.price.jumps + self._jumps_to_come(then) > most_jumps:
                        continue
                    now = done | 1 << then.last, then.last
                    if now not in following or _by_jumps(then.price) < _by_jumps(following[now].price):
                        following[now] = then
            layer = _best(following, width, _by_jumps)
        return _order(min(layer.values(), key=lambda state: _by_jumps(state.price))) if layer else None

    def _jumps_to_come(self, state: _State) -> int:
        """At least so many: of what can be next only one step can go on from the last one, and all others have to be jumped to."""
        going_on = state.ready & self._followers[state.last]
        return state.ready.bit_count() - (1 if going_on else 0)

    def _start(self, floor_bytes: int) -> _State:
        ready = _bits(number for number, after in enumerate(self._after) if not after)
        return _State(self._held_bytes, ready, Price(max(floor_bytes, self._held_bytes), 0, 0), -1, None)

    def _next(self, state: _State, done: int) -> list[_State]:
        """All that can follow on a state, or one of these that can do no harm."""
        found = list(self._each(state, done))
        free = [
            then
            for then in found
            if then.live_bytes <= state.live_bytes and then.price.peak_bytes == state.price.peak_bytes
        ]
        return [min(free, key=lambda then: then.price)] if free else found

    def _each(self, state: _State, done: int) -> Iterator[_State]:
        return (self._then(state, done, number) for number in _numbers(state.ready))

    def _then(self, state: _State, done: int, number: int) -> _State:
        now = done | 1 << number
        live_bytes, freed_bytes = state.live_bytes, 0
        for touching, added, freed in self._touches[number]:
            if not touching & done:
                live_bytes += added
            if not touching & ~now:
                freed_bytes += freed
        peak_bytes = max(state.price.peak_bytes, live_bytes)
        live_bytes -= freed_bytes
        jumps = state.price.jumps + (not self._after[number] >> state.last & 1 if state.last >= 0 else 0)
        ready = state.ready & ~(1 << number)
        for other in _numbers(self._followers[number]):
            if not self._after[other] & ~now:
                ready |= 1 << other
        price = Price(peak_bytes, state.price.sum_bytes + live_bytes, jumps)
        return _State(live_bytes, ready, price, number, state)


def _by_peak(price: Price) -> tuple[int, int, int]:
    return price


def _by_jumps(price: Price) -> tuple[int, int, int]:
    return price.jumps, price.peak_bytes, price.sum_bytes


def _best(layer: dict[_Key, _State], width: int, rank: _Rank) -> dict[_Key, _State]:
    if len(layer) <= width:
        return layer
    return dict(sorted(layer.items(), key=lambda entry: rank(entry[1].price))[:width])


def _order(state: _State) -> tuple[int, ...]:
    order: list[int] = []
    while state.before is not None:
        order.append(state.last)
        state = state.before
    return tuple(reversed(order))


def _bits(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def _numbers(mask: int) -> Iterator[int]:
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
