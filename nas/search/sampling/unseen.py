"""One of our samplers -> an Optuna sampler that never lets a candidate through twice.

Each proposal is made from its own seeded stream, named by the trial's number, so a resumed search does not repeat itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.core.errors import ContractError
from nas.core.seeding import stream, stream_seed
from nas.search.sampling.proposal import Price, Proposal, Sampler
from nas.search.trials.space import Params, Space


class UnseenSampler(BaseSampler):
    """A proposal that was seen before is drawn again `REDRAWS` times; then it is edited, one parameter at a time, until it
    is new, which keeps what the sampler wanted as far as possible; then a small space is searched to its end. When nothing
    is left, `exhausted` is set and the proposal is an old one.
    """

    REDRAWS = 20
    EDITS = 200
    ENUMERABLE = 100_000

    def __init__(self, space: Space, sampler: Sampler, price: Price, seed: int, seen: Callable[[], set[str]]) -> None:
        self._space, self._sampler, self._price, self._seed, self._seen = space, sampler, price, seed, seen
        self.origins: dict[int, str] = {}
        self.exhausted = False

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        proposal = self._unseen(study, trial)
        self.origins[trial.number] = proposal.origin
        return proposal.params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise ContractError(f"{param_name} is not a parameter of the space that trial {trial.number} was asked for")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.origins.pop(trial.number, None)

    def _unseen(self, study: Study, trial: FrozenTrial) -> Proposal:
        seen = self._seen()
        proposal = None
        for attempt in range(self.REDRAWS):
            own_seed = stream_seed(self._seed, "sampler", trial.number, attempt)
            raw = self._sampler.propose(self._space, study, trial, own_seed, self._price)
            proposal = Proposal(self._space.canonical(raw.params), raw.origin)
            if self._is_new(proposal.params, seen):
                return proposal
        assert proposal is not None
        generator = stream(self._seed, "walk", trial.number)
        params = proposal.params
        for _ in range(self.EDITS):
            params = self._space.mutate(params, generator)
            if self._is_new(params, seen):
                return Proposal(params, f"{proposal.origin}, edited until new")
        for params in self._space.every(self.ENUMERABLE) or ():
            if self._is_new(params, seen):
                return Proposal(params, "the rest of the space")
        self.exhausted = True
        return proposal

    def _is_new(self, params: Params, seen: set[str]) -> bool:
        return self._space.assemble(params).key not in seen
