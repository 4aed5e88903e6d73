"""A network and a draw -> the drawn sub-network, trained at its own size by an optimiser of its own size.

The drawn rows and columns of all weights, batch-norm statistics and optimiser states are taken out, trained for as many steps
as one likes as an ordinary small network, and put back. What was not drawn does not change: no decay, no momentum, no
statistics. Nothing is masked, so a step at half of the channels is really faster.

Where the same `keep` (the very object) is taken again and the whole has not changed, what was taken is still good: a draw that is
held goes from step to step for nothing, is given back when somebody wants to know, and finds the kernels of its shapes again.
"""

import copy
from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.quota.channels.cut import fill, like, shapes_of, slots_of
from nas.quota.channels.groups import Groups
from nas.quota.channels.slices import Keep, Places, kept_places, put_back, take, tensors_of


class _Drawn(NamedTuple):
    """keep: the channels; tensors: by name; marks: of the whole, as it was when the two were last the same."""

    keep: Keep
    tensors: dict[str, Tensor]
    optimizer: Optimizer
    marks: list[tuple[int, int]]


class Subnet:
    """Takes sub-networks out of `network`, whose parameters `optimizer` trains, and puts them back; one at a time.

    small: the present one, after `take`; places: what is left of each tensor that loses something.
    """

    def __init__(self, network: nn.Module, groups: Groups, optimizer: Optimizer) -> None:
        self._groups, self._optimizer = groups, optimizer
        self._tensors = tensors_of(network)
        self.small = copy.deepcopy(network)
        self._slots, self._whole = slots_of(self.small), shapes_of(self.small)
        self.places: dict[str, Places] = {}
        self._drawn: _Drawn | None = None
        self._is_ahead = False  # the drawn one, of the whole

    def take(self, keep: Keep, training: bool = True) -> tuple[nn.Module, Optimizer]:
        """The sub-network with the channels `keep` and its optimiser; they are this object's until the next one.

        What the one before has learnt since it was given back is forgotten.
        """
        drawn = self._drawn
        if drawn is None or drawn.keep is not keep or drawn.marks != self._marks():
            self.places = kept_places(self._groups, keep, self._tensors)
            small = {name: like(tensor, take(tensor, self.places.get(name))) for name, tensor in self._tensors.items()}
            fill(self._slots, self._whole, small)
            drawn = _Drawn(keep, small, self._small_optimizer(small, self.places), self._marks())
        _copy_options(self._optimizer, drawn.optimizer)
        self._drawn, self._is_ahead = drawn, True
        return self.small.train(training), drawn.optimizer

    def give_back(self) -> None:
        """Put weights, statistics and optimiser states of the present sub-network where they came from; once is enough."""
        if self._drawn is None or not self._is_ahead:
            return
        (_, small, optimizer, _), places = self._drawn, self.places
        for name, tensor in self._tensors.items():
            put_back(tensor, small[name].detach(), places.get(name))
            state = optimizer.state.get(small[name])
            if state:
                self._return_state(tensor, state, small[name], places.get(name))
        _copy_options(optimizer, self._optimizer)
        self._drawn, self._is_ahead = self._drawn._replace(marks=self._marks()), False

    def drop(self) -> None:
        """Forget the present sub-network and whatever happened to it."""
        self._drawn, self._is_ahead = None, False

    def _marks(self) -> list[tuple[int, int]]:
        """Of all tensors of the whole, which they are and how often they were written."""
        states = [value for state in self._optimizer.state.values() for value in state.values()]
        held = [*self._tensors.values(), *(value for value in states if isinstance(value, Tensor) and value.dim())]
        return [(id(tensor), tensor._version) for tensor in held]

    def _small_optimizer(self, small: dict[str, Tensor], places: dict[str, Places]) -> Optimizer:
        names = {id(tensor): name for name, tensor in self._tensors.items()}
        optimizer = copy.copy(self._optimizer)
        optimizer.param_groups = [
            {**group, "params": [small[names[id(weight)]] for weight in group["params"]]}
            for group in self._optimizer.param_groups
        ]
        optimizer.state = defaultdict(dict)
        for weight, state in self._optimizer.state.items():
            name = names[id(weight)]
            optimizer.state[small[name]] = {
                key: take(value, places.get(name)) if _is_like(value, weight) else value for key, value in state.items()
            }
        return optimizer

    def _return_state(self, tensor: Tensor, state: dict[str, Any], small: Tensor, places: Places | None) -> None:
        own = self._optimizer.state[tensor]
        for key, value in state.items():
            if not _is_like(value, small):
                own[key] = value
                continue
            if key not in own:
                own[key] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
            put_back(own[key], value, places)


def _copy_options(source: Optimizer, target: Optimizer) -> None:
    """Learning rates and the like, group by group."""
    for given, own in zip(source.param_groups, target.param_groups, strict=True):
        own.update({key: value for key, value in given.items() if key != "params"})


def _is_like(value: Any, weight: Tensor) -> bool:
    """Whether an entry of an optimiser's state has a number for each of the weight's."""
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape == weight.shape
