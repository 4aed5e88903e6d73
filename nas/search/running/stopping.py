"""Early stopping for two objectives, which Optuna does not offer: a training ends when its end point is surely dominated.

The latency is known before training. The final error is bounded from below by the training's own latest error times the
greatest improvement that any earlier training made from the same share of its way to its end. If a candidate on the front is
no slower and has an error below even that bound, going on cannot help. Off by default: it is sound as far as the past
trainings are typical, and with short trainings, whose learning rate falls late, it seldom saves anything.
"""

import bisect

from nas.search.running.evaluate import ShouldStop
from nas.search.trials.record import Record

NEEDED_CURVES = 6  # with fewer earlier trainings nothing is known about how errors fall
MARGIN = 0.9  # and the best improvement seen is not the best possible


def stop_rule(records: list[Record], latency_s: float) -> ShouldStop:
    """The rule for a candidate of this latency, from the records known when its training begins."""
    finished = [record for record in records if record.state == "evaluated" and record.error is not None]
    as_fast = [record.point for record in finished if record.point is not None and record.point[1] <= latency_s]
    best_error = min((error for error, _ in as_fast), default=None)

    def should_stop(step: int, error: float) -> bool:
        if best_error is None:
            return False
        bound = final_error_bound(step, error, finished)
        return bound is not None and best_error < bound

    return should_stop


def final_error_bound(step: int, error: float, finished: list[Record]) -> float | None:
    """The least final error to be expected from `error` after `step` steps; None where too little is known."""
    ratios = []
    for record in finished:
        then = _error_at(step, record.curve)
        if then is not None and then > 0 and record.error is not None:
            ratios.append(record.error / then)
    if len(ratios) < NEEDED_CURVES:
        return None
    return error * min(1.0, *ratios) * MARGIN


def _error_at(step: int, curve: list[tuple[int, float]]) -> float | None:
    """The error of an earlier training after as many steps, between two of its points; None outside of them."""
    points = sorted(curve)
    place = bisect.bisect_left(points, (step, -1.0))
    if place == len(points):
        return None
    if points[place][0] == step:
        return points[place][1]
    if place == 0:
        return None
    (left, before), (right, after) = points[place - 1], points[place]
    return before + (after - before) * (step - left) / (right - left)
