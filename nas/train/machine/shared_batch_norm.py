"""Batch norms of several processes -> the statistics of the whole batch, as one process would compute them.

torch's own SyncBatchNorm works on CUDA alone; this one is a few lines of ordinary operations and one exchange in each
direction, on any device. Modules, their names and their state stay what they are.

    mean = mean over processes of their means
    variance = mean of their variances + variance of their means        (shares are of equal size)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.train.machine.distributed import Group


@contextmanager
def shared_batch_norms(network: nn.Module, group: Group) -> Iterator[None]:
    """Inside the block the batch norms of `network`, in training mode, see the batches of all processes."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)] if group.size > 1 else []
    for module in norms:
        module.forward = partial(_forward, module, module.forward, group)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in norms:
            del module.forward


class _Gather(torch.autograd.Function):
    """x -> (processes, *x.shape), the x of every process; backwards, what all of them want of ours."""

    @staticmethod
    def forward(context: Any, x: Tensor, group: Group) -> Tensor:  # type: ignore[override]
        context.group = group
        everyone = [torch.empty_like(x) for _ in range(group.size)]
        dist.all_gather(everyone, x)
        return torch.stack(everyone)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        wanted = context.group.sum_(gradients[0].contiguous())
        return wanted[context.group.rank], None


def _forward(norm: _BatchNorm, alone: Any, group: Group, x: Tensor) -> Tensor:
    if not norm.training:
        return alone(x)
    wide = x.float()
    axes = [axis for axis in range(x.dim()) if axis != 1]
    means, variances = _own_statistics(wide, axes)
    everyone = _Gather.apply(torch.stack([means, variances]), group)
    mean = everyone[:, 0].mean(0)
    variance = everyone[:, 1].mean(0) + (everyone[:, 0] - mean).square().mean(0)
    _remember(norm, mean.detach(), variance.detach(), group.size * x.numel() // x.shape[1])
    shape = [1, -1, *[1] * (x.dim() - 2)]
    factor = torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight
    normed = (wide - mean.view(shape)) * factor.view(shape)
    if norm.bias is not None:
        normed = normed + norm.bias.view(shape)
    return normed.to(x.dtype)


def _own_statistics(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, axes, correction=0)
    return mean, variance


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """As torch does: an exponential or, without a momentum, a plain average; the variance without bias."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = norm.momentum if norm.momentum is not None else 1.0 / norm.num_batches_tracked.item()
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * (count / max(1, count - 1)), share)
