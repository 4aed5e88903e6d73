"""What a sampler is: finished trials -> the parameters of the next candidate, and in words where they came from."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.search.trials.objective import STATE_ATTRIBUTE
from nas.search.trials.space import Params, Space

REFERENCE_ATTRIBUTE = "reference"  # of a study: the corner of the hypervolume that its search is judged by
START = "start"  # the origin of the random candidates that a sampler begins with


Price = Callable[[Params], Cost | None]  # known before any training; None: cannot run, or exceeds a limit


class Proposal(NamedTuple):
    """Parameters and, in words, where they came from."""

    params: Params
    origin: str


class Sampler(Protocol):
    """Proposes; may propose what was seen before. Deterministic in (the finished trials, seed).

    `price` compiles and simulates, some hundredths of a second each time; a sampler need not ask it.
    """

    def propose(self, space: Space, study: Study, trial: FrozenTrial, seed: int, price: Price) -> Proposal: ...


def require(sampler: str, **options: tuple[float, float, float]) -> None:
    """Options as (value, least, greatest); an `InputError` names the first that is outside."""
    for name, (value, least, greatest) in options.items():
        if not least <= value <= greatest:
            expected = f"at least {least:g}" if math.isinf(greatest) else f"{least:g} to {greatest:g}"
            raise InputError(f"sampler {sampler}", name, expected, value)


def evaluated(study: Study) -> list[FrozenTrial]:
    """The trials that were trained to the end, in order of number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if trial.user_attrs.get(STATE_ATTRIBUTE) == "evaluated"]
