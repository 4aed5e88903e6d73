from nas.cost.model import Cost
from nas.search.running.stopping import final_error_bound, stop_rule
from nas.search.trials.candidate import Candidate
from nas.search.trials.record import Record


def _record(number: int, error: float, early: float, latency_s: float = 1.0) -> Record:
    cost = Cost(latency_s, 1, 1.0, 1, 1, 1, 1, 1)
    curve = [(10, early), (20, error)]
    return Record(number, str(number), Candidate({}), {}, "evaluated", cost=cost, error=error, curve=curve)


def test_nothing_is_stopped_before_enough_is_known():
    assert not stop_rule([_record(n, 0.1, 0.2) for n in range(5)], 1.0)(10, 0.9)


def test_a_training_that_cannot_reach_a_front_point_as_fast_is_stopped():
    records = [_record(n, 0.1, 0.2) for n in range(6)]
    # every earlier training halved its error from step 10 on: 0.5 may come to 0.5 * 0.5 * 0.9 = 0.225 at best
    assert stop_rule(records, 1.0)(10, 0.5)
    assert not stop_rule(records, 1.0)(10, 0.2)
    assert not stop_rule(records, 0.5)(10, 0.5)  # nobody is as fast as this one: it is on the front whatever its error


def test_the_bound_lies_below_every_end_that_was_seen():
    records = [_record(n, 0.1 / (n + 1), 0.2) for n in range(8)]
    bound = final_error_bound(10, 0.2, records)
    assert bound is not None
    assert bound < min(record.error for record in records)


def test_the_error_of_an_earlier_training_is_interpolated():
    records = [_record(n, 0.1, 0.3) for n in range(6)]
    assert final_error_bound(15, 0.2, records) == 0.2 * (0.1 / 0.2) * 0.9
    assert final_error_bound(5, 0.2, records) is None
    assert final_error_bound(25, 0.2, records) is None
