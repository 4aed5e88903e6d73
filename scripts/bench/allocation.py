"""How close addresses come to the least room, where it is known: rows (what, value, unit).

An instance is a rectangle of time and room cut up at random, so that its buffers fit without a gap; that is the hardest case.
"orders" is the peak over the least one where buffers are only placed in a few orders, "search" where packings are searched
for as well; "found" counts the instances that come out without a gap. Means over six instances of each size.
"""

import statistics
import time

import numpy as np

from nas.compiler.opt.memory.alloc import allocate

NAME = "allocation"
_SEEDS = 6
_ROOM, _TIMES, _UNIT_BYTES = 1000, 2000, 64


def run() -> list[tuple[str, float, str]]:
    """Allocate instances of 50, 100 and 200 buffers."""
    rows = []
    for count in (50, 100, 200):
        orders, search, seconds = [], [], []
        for seed in range(_SEEDS):
            spans, sizes = _cut_up(np.random.default_rng(seed), count)
            orders.append(allocate(spans, sizes, nodes=0).peak_bytes / (_ROOM * _UNIT_BYTES))
            begin = time.process_time()
            search.append(allocate(spans, sizes).peak_bytes / (_ROOM * _UNIT_BYTES))
            seconds.append(time.process_time() - begin)
        rows += [
            (f"{count} buffers, orders", statistics.mean(orders), "x"),
            (f"{count} buffers, search", statistics.mean(search), "x"),
            (f"{count} buffers, found", float(sum(ratio == 1 for ratio in search)), f"of {_SEEDS}"),
            (f"{count} buffers, time", statistics.mean(seconds), "s"),
        ]
    return rows


def _cut_up(generator: np.random.Generator, count: int) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Lives and sizes of `count` buffers that fill the rectangle."""
    pieces = [(0, _TIMES, 0, _ROOM)]
    while len(pieces) < count:
        areas = np.array([(end - begin) * (top - bottom) for begin, end, bottom, top in pieces], float)
        begin, end, bottom, top = pieces.pop(int(generator.choice(len(pieces), p=areas / areas.sum())))
        if end - begin > 1 and generator.random() < 0.5:
            at = int(generator.integers(begin + 1, end))
            pieces += [(begin, at, bottom, top), (at, end, bottom, top)]
        elif top - bottom > 1:
            at = int(generator.integers(bottom + 1, top))
            pieces += [(begin, end, bottom, at), (begin, end, at, top)]
        else:
            pieces.append((begin, end, bottom, top))
    spans = {f"{number}": (begin, end - 1) for number, (begin, end, _, _) in enumerate(pieces)}
    return spans, {f"{number}": (top - bottom) * _UNIT_BYTES for number, (_, _, bottom, top) in enumerate(pieces)}
