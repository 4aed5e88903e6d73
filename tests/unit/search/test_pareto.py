import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.trials.pareto import crowding, dominates, front_indices, hypervolume

POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=20)


@given(POINTS)
def test_the_front_is_what_nobody_dominates(points):
    front = front_indices(points)
    nobody = {point for point in points if not any(dominates(other, point) for other in points)}
    assert {points[index] for index in front} == nobody
    assert len(front) == len(nobody)  # of equal points, one
    assert [points[index][1] for index in front] == sorted(points[index][1] for index in front)


@given(POINTS)
def test_hypervolume_is_the_share_of_cells_that_some_point_dominates(points):
    cells = {(x, y) for x in range(10) for y in range(10) if any(a <= x and b <= y for a, b in points)}
    assert hypervolume(points, (10, 10)) == pytest.approx(len(cells) / 100)


def test_points_beyond_the_reference_count_nothing():
    assert hypervolume([(0.1, 2.0), (1.5, 0.1)], (1.0, 1.0)) == 0.0
    assert hypervolume([], (1.0, 1.0)) == 0.0


def test_crowding_prefers_the_ends_and_the_gaps():
    distance = crowding([(0, 10), (1, 9), (2, 8), (9, 1), (10, 0)])
    assert distance[0] == distance[-1] == np.inf
    assert distance[2] > distance[1]
