"""What is known so far -> the parameters of the next candidate. Every sampler is a frozen value whose fields are its options.

`SAMPLERS` is the list of them. Optuna asks them through `UnseenSampler`, which lets no candidate through twice.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.core.config import from_config
from nas.core.errors import InputError
from nas.core.registry import Registry
from nas.core.seeding import stream
from nas.search.sampling.proposal import START, Price, Proposal, Sampler, evaluated, require
from nas.search.sampling.surrogate import Surrogate
from nas.search.trials.pareto import crowding, front_indices
from nas.search.trials.space import Space

SAMPLERS: Registry[Any] = Registry("sampler")


@SAMPLERS.register("random")
class Random(msgspec.Struct, frozen=True):
    """Uniform over the space: what every other sampler has to beat."""

    def propose(self, space: Space, study: Study, trial: FrozenTrial, seed: int, price: Price) -> Proposal:
        return Proposal(space.random(stream(seed)), "random")


@SAMPLERS.register("pareto_mutation")
class ParetoMutation(msgspec.Struct, frozen=True):
    """A non-dominated parent, one edit.

    start: random candidates at first; explore: the share of random ones afterwards. The parent is the less crowded of two
    drawn from the front, so gaps are filled and the ends are pushed out.
    """

    start: int = 8
    explore: float = 0.1

    def __post_init__(self) -> None:
        require("pareto_mutation", start=(self.start, 1, math.inf), explore=(self.explore, 0, 1))

    def propose(self, space: Space, study: Study, trial: FrozenTrial, seed: int, price: Price) -> Proposal:
        generator = stream(seed)
        known = evaluated(study)
        if len(known) < self.start:
            return Proposal(space.random(generator), START)
        if generator.random() < self.explore:
            return Proposal(space.random(generator), "random")
        front = front_indices([other.values for other in known])
        distance = crowding([known[index].values for index in front])
        drawn = generator.integers(len(front), size=2)
        parent = known[front[int(max(drawn, key=lambda place: distance[place]))]]
        return Proposal(space.mutate(parent.params, generator), f"mutation of {parent.number}")


@SAMPLERS.register("nsga2")
class Nsga2(msgspec.Struct, frozen=True):
    """NSGA-II (Deb et al. 2002), Optuna's. population: also the random candidates at first."""

    population: int = 8
    crossover: float = 0.9

    def __post_init__(self) -> None:
        require("nsga2", population=(self.population, 2, math.inf), crossover=(self.crossover, 0, 1))

    def propose(self, space: Space, study: Study, trial: FrozenTrial, seed: int, price: Price) -> Proposal:
        inner = NSGAIISampler(population_size=self.population, crossover_prob=self.crossover, seed=_optuna_seed(seed))
        return _ask_optuna(inner, "nsga2", space, study, trial, seed)


@SAMPLERS.register("tpe")
class Tpe(msgspec.Struct, frozen=True):
    """Multi-objective TPE (Ozaki et al. 2022), Optuna's, over all parameters jointly."""

    start: int = 8

    def __post_init__(self) -> None:
        require("tpe", start=(self.start, 1, math.inf))

    def propose(self, space: Space, study: Study, trial: FrozenTrial, seed: int, price: Price) -> Proposal:
        inner = TPESampler(n_startup_trials=self.start, multivariate=True, constant_liar=True, seed=_optuna_seed(seed))
        return _ask_optuna(inner, "tpe", space, study, trial, seed)


SAMPLERS.add("surrogate", Surrogate)


def make_sampler(config: Mapping[str, Any]) -> Sampler:
    """`{"name": "tpe", option: value, ...}` as a sampler."""
    options = {key: value for key, value in config.items() if key != "name"}
    if "name" not in config:
        raise InputError("sampler", "name", "a sampler", "none", f"known: {', '.join(SAMPLERS)}")
    return from_config(options, SAMPLERS[str(config["name"])], f"sampler {config['name']}")  # type: ignore[no-any-return]


def _optuna_seed(seed: int) -> int:
    return seed % (1 << 32)  # numpy's old generator, which Optuna uses, takes no more


def _ask_optuna(inner: BaseSampler, name: str, space: Space, study: Study, trial: FrozenTrial, seed: int) -> Proposal:
    """One joint proposal of an Optuna sampler; what it leaves open (mutated genes) is drawn by its independent rule."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        inner.before_trial(study, trial)
        search_space = inner.infer_relative_search_space(study, trial)
        params = inner.sample_relative(study, trial, search_space)
        if not params:
            return Proposal(space.random(stream(seed)), START)
        for parameter, distribution in space.distributions.items():
            if parameter not in params and not distribution.single():
                params[parameter] = inner.sample_independent(study, trial, parameter, distribution)
    finally:
        optuna.logging.set_verbosity(verbosity)
    defaults = {parameter: space.parameters[parameter].default for parameter in space.parameters}
    return Proposal(defaults | params, name)
