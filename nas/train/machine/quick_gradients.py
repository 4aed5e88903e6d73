"""Layers of PyTorch with other gradients: of the same values, by kernels that are quick on a CPU where channels are last."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_Pair = tuple[int, ...]


class StridedDepthwise(torch.autograd.Function):
    """A depthwise convolution of any stride, without bias. x (n, c, h, w), weight (c, 1, k, k), of one type.

    What it makes at stride s is every s-th place of what it would make at stride 1: so is the gradient by x that of stride 1,
    for a gradient that is zero in the places between.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: _Pair, padding: _Pair, dilation: _Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.dilation = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        by_x, by_weight = None, None
        if ctx.needs_input_grad[0]:
            by_x = _gradients(ctx, _at_stride_1(ctx, gradient), (1, 1), (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            by_weight = _gradients(ctx, gradient, ctx.stride, (False, True, False))[1]
        return by_x, by_weight, None, None, None


class MeanOfMap(torch.autograd.Function):
    """The mean over height and width: (n, c, h, w) to (n, c, 1, 1). Its gradient takes no memory: who reads it spreads it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.mean((2, 3), keepdim=True)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return (gradient / (ctx.shape[2] * ctx.shape[3])).expand(ctx.shape)


def _at_stride_1(ctx: Any, gradient: Tensor) -> Tensor:
    x, weight = ctx.saved_tensors
    height, width = (
        size + 2 * padding - dilation * (kernel - 1)
        for size, padding, dilation, kernel in zip(
            x.shape[2:], ctx.padding, ctx.dilation, weight.shape[2:], strict=True
        )
    )
    spread = gradient.new_zeros(len(gradient), height, width, gradient.shape[1]).permute(0, 3, 1, 2)
    spread[:, :, :: ctx.stride[0], :: ctx.stride[1]] = gradient
    return spread


def _gradients(ctx: Any, gradient: Tensor, stride: _Pair, wanted: tuple[bool, bool, bool]) -> tuple[Tensor, ...]:
    x, weight = ctx.saved_tensors
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, ctx.padding, ctx.dilation, False, (0, 0), len(weight), wanted
    )
    return found
