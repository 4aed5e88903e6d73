"""Happens-before, races and inversions against brute force on random small programs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.check import race
from nas.check.accesses import accesses_of
from nas.check.memory import overlap
from nas.check.order import cycle_of, order_of, steps_of
from nas.check.race import inversions, races
from nas.ir.command import Command, Copy
from nas.ir.par_program import Step
from nas.ir.tensor import Region


@st.composite
def queues(draw: st.DrawFn) -> dict[str, tuple[Step, ...]]:
    """Up to three queues of commands on 24 bytes, with tokens between any two steps: cycles happen."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    places = [(queue, position) for queue, length in enumerate(lengths) for position in range(length)]
    waits: dict[tuple[int, int], list[int]] = {place: [] for place in places}
    signals: dict[tuple[int, int], list[int]] = {place: [] for place in places}
    if places:
        for token in range(draw(st.integers(0, 6))):
            # Mostly forwards, so that most programs get through.
            pair = draw(st.tuples(st.sampled_from(places), st.sampled_from(places)))
            earlier, later = pair if draw(st.integers(0, 9)) == 0 else sorted(pair, key=lambda place: place[1])
            signals[earlier].append(token)
            waits[later].append(token)

    def region() -> Region:
        strides = draw(st.sampled_from(((1,), (2,), (4,))))
        return Region(draw(st.sampled_from(("sram", "dram"))), draw(st.integers(0, 20)), (3,), strides, 8)

    made = {}
    for queue, length in enumerate(lengths):
        steps = []
        for position in range(length):
            reads = tuple(region() for _ in range(draw(st.integers(0, 2))))
            command = Command(f"engine{queue}", "layer", reads, (region(),), Copy())
            steps.append(Step(command, tuple(waits[queue, position]), tuple(signals[queue, position])))
        made[f"engine{queue}"] = tuple(steps)
    return made


def reachable(made: dict[str, tuple[Step, ...]]) -> np.ndarray:
    """reach[a, b]: step a ends before step b starts, by closing over all edges (S. Warshall, 1962)."""
    steps = [step for queue in made.values() for step in queue]
    reach = np.zeros((len(steps), len(steps)), bool)
    first = 0
    for queue in made.values():
        for number in range(first, first + len(queue) - 1):
            reach[number, number + 1] = True
        first += len(queue)
    for a, one in enumerate(steps):
        for b, other in enumerate(steps):
            reach[a, b] |= bool(set(one.signals) & set(other.waits))
    for middle in range(len(steps)):
        reach |= reach[:, middle, None] & reach[None, middle, :]
    return reach


@given(queues())
@settings(max_examples=150, deadline=None)
def test_clocks_are_reachability_and_cycles_are_found(made: dict[str, tuple[Step, ...]]) -> None:
    steps, reach = steps_of(made), reachable(made)
    order = order_of(steps)
    count = len(steps.steps)
    stuck = reach.diagonal().any()
    assert (len(order.legal) < count) == stuck
    if stuck:
        cycle = cycle_of(order)
        for one, other in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            assert reach[other, one]
        return
    for a in range(count):
        for b in range(count):
            assert order.is_before(a, b) == reach[a, b]
    turns = {number: turn for turn, number in enumerate(order.legal)}
    assert all(turns[a] < turns[b] for a, b in np.argwhere(reach).tolist())


@given(queues(), st.sampled_from((1, 7, 1 << 20)))
@settings(max_examples=150, deadline=None)
def test_races_are_unordered_conflicts(made: dict[str, tuple[Step, ...]], chunk: int) -> None:
    steps, reach = steps_of(made), reachable(made)
    if reach.diagonal().any():
        return
    accesses = accesses_of([step.command for step in steps.steps])
    expected = {
        (a, b)
        for a, b in conflicts(accesses)
        if not reach[accesses.command[a], accesses.command[b]] and not reach[accesses.command[b], accesses.command[a]]
    }
    whole, race._CHUNK_PAIRS = race._CHUNK_PAIRS, chunk
    try:
        found = [tuple(sorted(pair)) for pair in races(order_of(steps), accesses)]
    finally:
        race._CHUNK_PAIRS = whole
    assert len(found) == len(set(found))
    assert set(found) == expected


@given(queues(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_inversions_are_conflicts_the_other_way_round(made: dict[str, tuple[Step, ...]], random) -> None:
    accesses = accesses_of([step.command for queue in made.values() for step in queue])
    count = sum(map(len, made.values()))
    legal, ranks = list(range(count)), list(range(count))
    random.shuffle(legal)
    random.shuffle(ranks)
    turns = {number: turn for turn, number in enumerate(legal)}
    expected = {
        (a, b)
        for a, b in conflicts(accesses)
        if (turns[accesses.command[a]] < turns[accesses.command[b]])
        != (ranks[accesses.command[a]] < ranks[accesses.command[b]])
    }
    found = [tuple(sorted(pair)) for pair in inversions(tuple(legal), np.array(ranks, np.int64), accesses)]
    assert len(found) == len(set(found))
    assert set(found) == expected


def conflicts(accesses) -> list[tuple[int, int]]:
    count = len(accesses.command)
    return [
        (a, b)
        for a in range(count)
        for b in range(a + 1, count)
        if accesses.command[a] != accesses.command[b]
        and (accesses.is_write[a] or accesses.is_write[b])
        and overlap(accesses.region[a], accesses.region[b])
    ]
