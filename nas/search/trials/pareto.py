"""Points -> which are not dominated, and how much they cover. Every objective is minimised.

points: (n, 2) of (error, latency_s), or any (n, m). Hypervolume: the share of the box between the origin and a fixed
reference point that the points dominate, in [0, 1], so fronts of different searches compare (by moocore).
"""

from collections.abc import Sequence

import moocore
import numpy as np

Points = Sequence[Sequence[float]]


def front_indices(points: Points) -> list[int]:
    """The non-dominated points, ordered by the last objective; of equal points the first stands for all."""
    if not len(points):
        return []
    array = np.asarray(points, dtype=float)
    kept = np.flatnonzero(moocore.is_nondominated(array, keep_weakly=False))
    return sorted((int(index) for index in kept), key=lambda index: (array[index][-1], array[index][0]))


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """The dominated share of the box [0, reference]; points outside the box count nothing."""
    limit = np.asarray(reference, dtype=float)
    array = np.asarray(points, dtype=float).reshape(-1, len(limit))
    inside = array[(array < limit).all(axis=1)]
    if not len(inside):
        return 0.0
    return float(moocore.hypervolume(inside / limit, ref=np.ones(len(limit))))


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether `first` is nowhere worse and somewhere better than `second`."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and tuple(first) != tuple(second)


def crowding(points: Points) -> list[float]:
    """The NSGA-II crowding distance of each point of one front (Deb et al. 2002): the ends get infinity."""
    array = np.asarray(points, dtype=float)
    count = len(array)
    distance = np.zeros(count)
    if count <= 2:
        return [float("inf")] * count
    for column in array.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[0]] = distance[order[-1]] = np.inf
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return [float(item) for item in distance]
