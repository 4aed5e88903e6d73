"""Orders of a few steps against all that there are, priced here in another way: buffer by buffer, from first to last touch."""

import itertools

import numpy as np
import pytest

from nas.compiler.opt.rewrite.least_peak import Orders, Step


def random_steps(generator, count, buffers):
    steps = []
    for number in range(count):
        after = {int(each) for each in range(number) if generator.random() < 0.35}
        touched = {int(each) for each in generator.choice(buffers, int(generator.integers(0, 4)), replace=False)}
        steps.append(Step(frozenset(after), frozenset(touched)))
    sizes = [int(size) for size in generator.integers(1, 12, buffers)]
    held = frozenset(int(each) for each in range(buffers) if generator.random() < 0.2)
    kept = frozenset(int(each) for each in range(buffers) if generator.random() < 0.2)
    return steps, sizes, held, kept


def topological(steps):
    for order in itertools.permutations(range(len(steps))):
        place = {number: index for index, number in enumerate(order)}
        if all(place[before] < place[number] for number, step in enumerate(steps) for before in step.after):
            yield order


def peak_of(order, steps, sizes, held, kept):
    """What lives before the first step counts, too."""
    live = [sum(sizes[each] for each in held)] + [0] * len(order)
    for buffer, size in enumerate(sizes):
        touched = [index for index, number in enumerate(order) if buffer in steps[number].buffers]
        if not touched and not (buffer in held and buffer in kept):
            # Nobody frees what nobody touches.
            touched = [len(order) - 1] if buffer in held else []
        first = 0 if buffer in held else min(touched, default=len(order))
        last = len(order) - 1 if buffer in kept and (touched or buffer in held) else max(touched, default=-1)
        for index in range(first, last + 1):
            live[index + 1] += size
    return max(live)


def jumps_of(order, steps):
    return sum(before not in steps[number].after for before, number in itertools.pairwise(order))


@pytest.mark.parametrize("seed", range(40))
def test_no_order_has_a_lower_peak(seed):
    generator = np.random.default_rng(seed)
    problem = random_steps(generator, int(generator.integers(1, 8)), 7)
    orders, everyone = Orders(*problem), list(topological(problem[0]))
    order = orders.lowest(width=10_000)
    assert order in everyone
    peaks = [peak_of(each, *problem) for each in everyone]
    assert [orders.price(each).peak_bytes for each in everyone] == peaks
    assert peak_of(order, *problem) == min(peaks)
    assert orders.bound_bytes <= min(peaks)


@pytest.mark.parametrize("seed", range(40))
def test_none_of_those_within_the_limit_has_fewer_jumps(seed):
    generator = np.random.default_rng(seed)
    problem = random_steps(generator, int(generator.integers(2, 8)), 7)
    orders, everyone = Orders(*problem), list(topological(problem[0]))
    peaks = sorted({peak_of(each, *problem) for each in everyone})
    for limit_bytes in (peaks[0], peaks[len(peaks) // 2]):
        order = orders.straightest(10_000, limit_bytes, len(problem[0]))
        within = [each for each in everyone if peak_of(each, *problem) <= limit_bytes]
        assert order in within
        fewest = min(jumps_of(each, problem[0]) for each in within)
        assert jumps_of(order, problem[0]) == orders.price(order).jumps == fewest
        again = orders.straightest(10_000, limit_bytes, fewest)
        assert again in within
        assert jumps_of(again, problem[0]) == fewest
        assert orders.straightest(10_000, limit_bytes, fewest - 1) is None
    assert orders.straightest(10_000, peaks[0] - 1, len(problem[0])) is None


@pytest.mark.parametrize("seed", range(10))
def test_any_peak_within_the_floor_is_as_good(seed):
    generator = np.random.default_rng(seed)
    problem = random_steps(generator, 7, 7)
    orders = Orders(*problem)
    lowest = peak_of(orders.lowest(10_000), *problem)
    for floor_bytes in (lowest - 3, lowest, lowest + 5):
        assert peak_of(orders.lowest(10_000, floor_bytes), *problem) <= max(lowest, floor_bytes)


@pytest.mark.parametrize("width", [1, 3])
def test_few_sets_give_a_legal_order_and_the_same_each_time(width):
    generator = np.random.default_rng(width)
    steps, sizes, held, kept = random_steps(generator, 40, 60)
    found = Orders(steps, sizes, held, kept).lowest(width)
    assert sorted(found) == list(range(40))
    place = {number: index for index, number in enumerate(found)}
    assert all(place[before] < place[number] for number, step in enumerate(steps) for before in step.after)
    assert found == Orders(steps, sizes, held, kept).lowest(width)


def test_one_branch_after_the_other():
    """Three branches of three steps, given level by level; step l of branch b hands on buffer 3 l + b; the ends are small."""
    steps = [
        Step(frozenset([3 * (level - 1) + branch] if level else []), frozenset(
            {3 * level + branch} | ({3 * (level - 1) + branch} if level else set())
        ))
        for level in range(3)
        for branch in range(3)
    ]  # fmt: skip
    orders = Orders(steps, [100] * 6 + [10] * 3, kept=frozenset([6, 7, 8]))
    assert orders.price(range(9)).peak_bytes == 400
    assert orders.lowest(100) == (0, 3, 6, 1, 4, 7, 2, 5, 8)
    assert orders.price(orders.lowest(100)).peak_bytes == 220
    assert orders.straightest(100, 220, 8) == (0, 3, 6, 1, 4, 7, 2, 5, 8)
