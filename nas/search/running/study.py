"""The ask/tell loop that every worker runs on a shared folder: next task -> evaluate -> finish, until the budget is spent.

Workers are stateless: all they know is on disk. `trials/` holds the records (the truth), the Optuna storage is the sampler's
memory, `claims/` says which candidates are taken and `leases/` who works on what. Asking and finishing happen under one
lock of the folder, so a trial that runs without a living lease is an orphan, whatever killed its worker, and whoever asks
next puts its candidate back into the queue. A training counts against the budget, a rejected candidate does not.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.search.running.evaluate import Parts, evaluate, load_parts, price
from nas.search.running.lease import (
    Heartbeat,
    Lease,
    claim,
    claimed,
    drop_lease,
    holds,
    is_dead,
    leases,
    take_lease,
    unclaim,
)
from nas.search.running.plan import Plan, read_plan
from nas.search.running.stopping import stop_rule
from nas.search.running.storage import FileLock, check_storage, open_storage
from nas.search.sampling.proposal import REFERENCE_ATTRIBUTE
from nas.search.sampling.samplers import make_sampler
from nas.search.sampling.unseen import UnseenSampler
from nas.search.trials.objective import tell, told
from nas.search.trials.record import Record, RecordBook, write_record
from nas.search.trials.space import Params, Space

RETRY_ATTRIBUTE = "retry_of"
POLL_S = 0.2
HOPELESS = 5  # so many failures and nothing else are no bad luck but a bug, which more trials would not mend


@dataclass(frozen=True)
class Task:
    """One trial to evaluate: the unfinished record, Optuna's trial and the lease on it."""

    record: Record
    trial: Trial
    lease: Lease


@dataclass(frozen=True)
class Wait:
    """Nothing to do now, but a running trial may yet free a place in the budget."""


@dataclass(frozen=True)
class Done:
    """Nothing to do any more, and why."""

    reason: str


class Search:
    """One search as one process sees it. Any number of processes may have one on the same folder.

    parts: called once, when a sampler first asks for a price; by default the plan's factory makes them.
    """

    def __init__(self, folder: Path, parts: Callable[[], Parts] | None = None) -> None:
        self.folder = folder
        self.plan: Plan = read_plan(folder)
        self._parts = parts or (lambda: load_parts(self.plan.factory, self.plan.settings))
        self._prices: dict[str, Cost | None] = {}
        self.space = Space(self.plan.space, folder / "search.json")
        self.book = RecordBook(folder)
        self._lock = FileLock(folder / "search.lock")
        sampler = make_sampler(self.plan.sampler)
        self._sampler = UnseenSampler(self.space, sampler, self._price, self.plan.seed, lambda: claimed(self.folder))
        self.study: Study = self._open_study()

    def next(self, worker: str) -> Task | Wait | Done:
        """The next trial for `worker`, leased to this process."""
        with self._lock:
            self._recover()
            self.book.refresh()
            running = leases(self.folder)
            records = self.book.records
            trained = sum(record.trained for record in records)
            if len(records) >= HOPELESS and all(record.state == "failed" for record in records):
                return Done(f"the first {len(records)} candidates all failed, see trials/*/record.json")
            if trained >= self.plan.trials:
                return Done(f"{trained} candidates trained")
            if trained + len(running) >= self.plan.trials:
                return Wait()
            rejected = len(records) - trained
            # Of the next training, not of all that are to come: who finds nothing shall not wait for so many.
            if rejected >= self.plan.redraws * (trained + 1):
                reason = f"{rejected} candidates rejected for {trained} trained"
                return Wait() if running else Done(f"{reason}: loosen the constraints or change the space")
            return self._ask(worker) or (Wait() if running else Done("every candidate of the space has been tried"))

    def finish(self, task: Task, record: Record) -> bool:
        """Write the record and tell the sampler; False where the lease was lost meanwhile and the result is dropped."""
        with self._lock:
            if not holds(self.folder, task.lease):
                return False
            write_record(self.folder, record)
            tell(self.study, task.trial, record, self.plan.limits, self.plan.reference)
            drop_lease(self.folder, record.number)
            return True

    def recover(self) -> int:
        """Put the candidates of dead workers back into the queue; how many there were."""
        with self._lock:
            return self._recover()

    def add(self, record: Record) -> None:
        """Take over a finished record of another search as the next trial of this one."""
        with self._lock:
            known = told(record, self.plan.limits, self.plan.reference)
            self.study.add_trial(
                optuna.trial.create_trial(
                    state=known.state,
                    values=known.values,
                    params=record.params,
                    distributions=self.space.distributions,
                    user_attrs=known.attributes,
                    system_attrs={f"constraints:{name}": value for name, value in known.constraints.items()},
                )
            )
            number = self.study.get_trials(deepcopy=False)[-1].number
            claim(self.folder, record.key, number)
            write_record(self.folder, msgspec.structs.replace(record, number=number))

    def _price(self, params: Params) -> Cost | None:
        candidate = self.space.assemble(params)
        if candidate.key not in self._prices:
            self._prices[candidate.key] = price(candidate, self._parts(), self.plan.limits)
        return self._prices[candidate.key]

    def _open_study(self) -> Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(self.plan.storage, self.folder)
        with self._lock:
            study = optuna.create_study(
                storage=storage,
                study_name=self.plan.study_name,
                directions=[StudyDirection.MINIMIZE, StudyDirection.MINIMIZE],
                sampler=self._sampler,
                load_if_exists=True,
            )
            if REFERENCE_ATTRIBUTE not in study.user_attrs:
                study.set_user_attr(REFERENCE_ATTRIBUTE, list(self.plan.reference.point))
            return study

    def _ask(self, worker: str) -> Task | None:
        """A task with a new candidate, or None where the space is exhausted. Under the lock."""
        while True:
            trial = self.study.ask()
            candidate = self.space.suggest(trial)
            retry_of = trial.user_attrs.get(RETRY_ATTRIBUTE)
            origin = self._sampler.origins.pop(trial.number, "")
            if retry_of is None and self._sampler.exhausted:
                self.study.tell(trial, state=TrialState.FAIL)
                return None
            if not claim(
                self.folder, candidate.key, trial.number
            ):  # only a queued candidate that somebody else has tried
                self.study.tell(trial, state=TrialState.FAIL)
                continue
            lease = take_lease(self.folder, trial.number, candidate.key, worker)
            record = Record(
                number=trial.number,
                key=candidate.key,
                candidate=candidate,
                params=dict(trial.params),
                state="failed",
                origin=origin if retry_of is None else f"again, after {retry_of} was lost",
                worker=worker,
                seed=self.plan.seed,
            )
            return Task(record, trial, lease)

    def _recover(self) -> int:
        """Under the lock, so a running trial is either leased or an orphan."""
        live = {lease.number for lease in leases(self.folder) if not is_dead(self.folder, lease, self.plan.lease_s)}
        orphans = [
            trial
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if trial.number not in live
        ]
        for trial in orphans:
            self._requeue(trial)
            drop_lease(self.folder, trial.number)
        for lease in leases(self.folder):  # told, but killed before the lease was dropped
            if lease.number not in live:
                drop_lease(self.folder, lease.number)
        return len(orphans)

    def _requeue(self, trial: FrozenTrial) -> None:
        """A dead worker's trial: told from its record if it got that far, else failed and its candidate queued again."""
        record = self.book.get(trial.number)
        handle = Trial(self.study, trial._trial_id)
        if record is not None:
            tell(self.study, handle, record, self.plan.limits, self.plan.reference)
            return
        if set(trial.params) == set(self.space.parameters):
            unclaim(self.folder, self.space.assemble(trial.params).key, trial.number)
            self.study.enqueue_trial(trial.params, user_attrs={RETRY_ATTRIBUTE: trial.number})
        self.study.tell(handle, state=TrialState.FAIL)


def work(folder: Path, worker: str, parts: Callable[[], Parts], should_end: Callable[[], bool] = lambda: False) -> str:
    """Evaluate candidates until the search in `folder` is done; returns why it is.

    parts: called once, when there is something to do. should_end: asked between trials.
    """
    parts = functools.cache(parts)
    search = Search(folder, parts)
    while not should_end():
        task = search.next(worker)
        if isinstance(task, Done):
            return task.reason
        if isinstance(task, Wait):
            time.sleep(POLL_S)
            continue
        with Heartbeat(folder, task.lease, search.plan.lease_s):
            rule = functools.partial(stop_rule, search.book.records) if search.plan.early_stopping else None
            record = evaluate(task.record, parts(), search.plan.limits, folder, rule)
        search.finish(task, record)
    return "asked to end"


def check_plan(plan: Plan) -> None:
    """Raise `InputError` for a plan that no worker could run, before any is started."""
    if plan.trials < 1:
        raise InputError("trials", "", "at least 1", plan.trials)
    check_storage(plan.storage)
    make_sampler(plan.sampler)
    Space(plan.space)
