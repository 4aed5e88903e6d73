"""Torch-Pruning's global pruning as methods of the comparison: group magnitude, batch-norm scale, group Taylor.

A development dependency: the strongest tool there is, to be measured against, never to build on. Its ratio is searched until
the network costs what the others cost; widths are rounded to the same blocks.
"""

import copy
import functools
import importlib
import importlib.util
from collections.abc import Callable

import torch
from torch import nn

from nas.core.errors import Violation
from nas.quota.channels.sizes import counts_in
from nas.search.pruning.prune_methods import METHODS, Case, trained

_HALVINGS = 12


@functools.cache
def register() -> None:
    """Add `tp_magnitude`, `tp_batch_norm` and `tp_taylor` to the methods; none where the tool is not installed. Once."""
    if importlib.util.find_spec("torch_pruning") is None:
        return
    kinds = importlib.import_module("torch_pruning").importance
    METHODS.add("tp_magnitude", _method(lambda: kinds.GroupMagnitudeImportance(p=2)))
    METHODS.add("tp_batch_norm", _method(kinds.BNScaleImportance))
    METHODS.add("tp_taylor", _method(kinds.GroupTaylorImportance))


def _method(importance: Callable[[], object]) -> Callable[[Case], nn.Module | Violation]:
    def method(case: Case) -> nn.Module | Violation:
        lookup, low, high = case.lookup, 0.0, 0.999
        limit, best, least = case.quota.share * lookup.whole, None, lookup.whole
        for _ in range(_HALVINGS):
            ratio = (low + high) / 2
            network = _pruned(case, importance(), ratio)
            price = lookup(counts_in(network, case.network, case.groups))
            least = min(least, price)
            if price <= limit:
                high, best = ratio, network
            else:
                low = ratio
        if best is None:
            return Violation(
                "share of the price", "Torch-Pruning", least / lookup.whole, case.quota.share, "of the whole"
            )
        return trained(case, best)

    return method


def _pruned(case: Case, importance: object, ratio: float) -> nn.Module:
    network = copy.deepcopy(case.network).eval()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    pruner = importlib.import_module("torch_pruning").pruner.MetaPruner(
        network,
        torch.zeros(case.shape),
        importance=importance,
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        round_to=case.quota.align,
        ignored_layers=[layers[-1]],
    )
    for batch in range(case.judges.batches):
        torch.autograd.backward(case.judges.loss_of(network, batch))
    pruner.step()
    network.zero_grad(set_to_none=True)
    return network.train()
