import os

import optuna
import pytest

from nas.core.errors import InputError
from nas.search.running.evaluate import load_parts
from nas.search.running.lease import claimed, leases
from nas.search.running.plan import write_plan
from nas.search.running.study import Done, Search, Task, Wait, work
from nas.search.trials.objective import Limits
from nas.search.trials.record import read_records, write_record


def test_a_search_trains_as_many_different_candidates_as_its_budget_says(run_plan):
    records = read_records(run_plan(trials=12))
    assert sum(record.trained for record in records) == 12
    assert len({record.key for record in records}) == len(records)
    assert {record.state for record in records if record.trained} == {"evaluated"}


def test_what_somebody_has_put_aside_is_no_trial(run_plan) -> None:
    folder = run_plan(trials=2)
    before = read_records(folder)
    for name in ("old", "0000 copy", "-1"):
        (folder / "trials" / name).mkdir()
        (folder / "trials" / name / "record.json").write_text("{}")
    assert read_records(folder) == before


def test_the_same_seed_gives_the_same_records(run_plan):
    first, again, other = (read_records(run_plan(name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert [record.key for record in first] == [record.key for record in again]
    assert [record.key for record in first] != [record.key for record in other]


def test_what_a_constraint_forbids_is_never_trained_and_does_not_cost_budget(run_plan):
    folder = run_plan(trials=10, limits=Limits(parameters=100, latency_s=8e-4))
    records = read_records(folder)
    rejected = [record for record in records if record.state == "rejected"]
    assert sum(record.trained for record in records) == 10
    assert rejected
    for record in rejected:
        assert "trained" not in record.seconds
        assert record.violations
    for record in records:
        if record.trained:
            assert record.cost.parameters <= 100
            assert record.cost.latency_s <= 8e-4


def test_optuna_knows_the_constraints_of_rejected_and_of_trained_candidates(run_plan):
    folder = run_plan(trials=8, limits=Limits(parameters=100))
    states = {record.number: record.state for record in read_records(folder)}
    for trial in Search(folder).study.get_trials():
        assert trial.state is optuna.trial.TrialState.COMPLETE
        violated = any(value > 0 for value in trial.constraints.values())
        assert violated == (states[trial.number] == "rejected")


def test_constraints_that_leave_nothing_end_the_search_with_a_message(make_plan, tmp_path):
    """After as many as are bearable for one training, however many there were to be."""
    plan = write_plan(tmp_path, make_plan(trials=200, redraws=5, limits=Limits(parameters=1)))
    reason = work(tmp_path, "worker-0", lambda: load_parts(plan.factory, plan.settings))
    assert "5 candidates rejected for 0 trained" in reason


def test_an_exhausted_space_ends_the_search_with_a_message(make_plan, tmp_path):
    space = {"network": {"stages": [{"width": {"choice": [4, 8, 16]}, "expansion": 1}, {"width": 8, "bits": 8}]}}
    plan = write_plan(tmp_path, make_plan(space=space, trials=10))
    reason = work(tmp_path, "worker-0", lambda: load_parts(plan.factory, plan.settings))
    assert reason == "every candidate of the space has been tried"
    assert len(read_records(tmp_path)) == 3


def test_a_failing_trial_is_recorded_with_its_traceback_and_the_search_goes_on(run_plan):
    widths = list(range(4, 31))
    records = read_records(run_plan(trials=12, settings={"fail_widths": widths}))
    failed = [record for record in records if record.state == "failed"]
    assert len(records) >= 12
    assert failed
    assert any(record.state == "evaluated" for record in records)
    for record in failed:
        assert "FloatingPointError: loss is nan at width" in record.traceback
        assert record.cost is not None
        assert record.point is None


def test_a_network_that_cannot_be_built_is_rejected_with_the_reason(run_plan):
    space = {"network": {"stages": [{"width": 64, "expansion": {"choice": [2, 6]}}, {"width": 8, "bits": 8}]}}
    records = read_records(run_plan(space=space, trials=2))
    rejected = next(record for record in records if record.state == "rejected")
    assert rejected.candidate.network["stages"][0]["expansion"] == 6
    assert "too wide to exist" in str(rejected.violations[0].help)


def test_the_lost_trial_of_a_dead_worker_is_evaluated_again(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(trials=5))
    child = os.fork()
    if child == 0:  # takes a trial and dies with it
        Search(tmp_path).next("doomed")
        os._exit(9)
    os.waitpid(child, 0)
    (lease,) = leases(tmp_path)
    plan = Search(tmp_path).plan
    work(tmp_path, "worker-0", lambda: load_parts(plan.factory, plan.settings))
    records = read_records(tmp_path)
    again = [record for record in records if record.key == lease.key]
    assert len(records) == 5
    assert [record.origin for record in again] == [f"again, after {lease.number} was lost"]
    assert not leases(tmp_path)
    assert claimed(tmp_path) == {record.key for record in records}
    states = [trial.state.name for trial in Search(tmp_path).study.get_trials(deepcopy=False)]
    assert states.count("FAIL") == 1
    assert "RUNNING" not in states


def test_a_trial_whose_worker_died_after_recording_it_is_told_and_not_repeated(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(trials=3))
    child = os.fork()
    if child == 0:
        search = Search(tmp_path)
        task = search.next("doomed")
        plan = search.plan
        from nas.search.running.evaluate import evaluate  # noqa: PLC0415 in the child only

        write_record(tmp_path, evaluate(task.record, load_parts(plan.factory, {}), plan.limits, tmp_path))
        os._exit(9)
    os.waitpid(child, 0)
    search = Search(tmp_path)
    assert search.recover() == 1
    (trial,) = search.study.get_trials(deepcopy=False)
    assert trial.state is optuna.trial.TrialState.COMPLETE
    assert tuple(trial.values) == read_records(tmp_path)[0].point


def test_a_silent_worker_loses_its_lease_and_its_late_result_is_dropped(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(trials=5, lease_s=0.5))
    search, other = Search(tmp_path), Search(tmp_path)
    task = search.next("slow")
    lease_file = tmp_path / "leases" / "0000.json"
    os.utime(lease_file, (0, 0))  # no heartbeat for ages
    taken = other.next("fast")
    assert isinstance(taken, Task)
    assert taken.record.key == task.record.key
    assert not search.finish(task, task.record)
    assert other.finish(taken, taken.record)
    assert len(read_records(tmp_path)) == 1


def test_the_last_place_in_the_budget_is_waited_for(make_plan, tmp_path):
    write_plan(tmp_path, make_plan(trials=1))
    first, second = Search(tmp_path), Search(tmp_path)
    task = first.next("a")
    assert isinstance(second.next("b"), Wait)
    first.finish(task, task.record)
    assert second.next("b") == Done("1 candidates trained")


def test_a_finished_search_goes_on_with_a_larger_budget(run_plan):
    folder = run_plan(trials=5)
    before = read_records(folder)
    run_plan(trials=8)
    after = read_records(folder)
    assert after[:5] == before
    assert len(after) == 8


def test_going_on_with_another_space_is_refused_with_what_differs(run_plan, make_plan):
    folder = run_plan(trials=2)
    with pytest.raises(InputError, match="seed: expected what the search began with"):
        write_plan(folder, make_plan(trials=2, seed=5))


def test_records_of_another_search_can_be_taken_over(run_plan, make_plan, tmp_path):
    source = read_records(run_plan("first", trials=4, sampler={"name": "random"}))
    plan = write_plan(tmp_path / "second", make_plan(trials=6, sampler={"name": "random"}))
    search = Search(tmp_path / "second")
    for record in source:
        search.add(record)
    work(search.folder, "worker-0", lambda: load_parts(plan.factory, plan.settings))
    records = read_records(search.folder)
    assert len(records) == 6
    assert [record.key for record in records[:4]] == [record.key for record in source]
    assert [tuple(trial.values) for trial in search.study.get_trials()][:4] == [record.point for record in source]


def test_when_everything_fails_the_search_does_not_go_on_for_ever(run_plan):
    records = read_records(run_plan(trials=30, settings={"fail_widths": list(range(1000))}))
    assert len(records) == 5
