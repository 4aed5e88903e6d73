"""A network in training on a CPU -> the same network, without the kernels that are slow there.

Measured on an AMD EPYC with AVX512-bf16, torch 2.15, one thread, channels last:

- of a 16x16 map of 96 channels, batch 64, the gradient by the input of a depthwise 3x3 convolution of stride 2 takes 46 ms
  in bfloat16 and 2.1 ms in float32, which maps must first be converted to; by way of stride 1 it needs no float32, and
  with the conversions about half of the time. The gradient by the weights of a depthwise 5x5 takes 36 ms and 13 ms.
- the gradient of a mean over the map is written out, a division for each place, channel by channel: 6.9 ms for 1024 channels
  of 4x4, batch 128. Not written, and spread where it is read, it takes 1.3 ms.
- the gradient of a ReLU over 24 channels of 16x16, batch 128, takes 2.6 ms where it comes in as a part of the channels of
  a concatenation, as in ShuffleNet v2, and 0.2 ms where it is dense; to make it dense takes 0.2 ms.
- the gradient of a max pool over 256 channels of 8x8, batch 128, takes 5.1 ms where a linear layer reads the pooled map, whose
  gradient then comes in channel by channel, and what comes before it is slower, too: 3 % of a step of svhn_net.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from nas.train.machine.quick_gradients import MeanOfMap, StridedDepthwise

_Forward = Callable[[Tensor], Tensor]


@contextmanager
def without_slow_kernels(network: nn.Module) -> Iterator[None]:
    """Inside the block, where they are on a CPU, slow convolutions of `network` take other ways to their gradients, or leave
    autocast and compute in float32; ReLUs and max pools make their gradients dense, means do not write theirs: no value changes.

    Blocks may be nested: the inner one finds nothing left to do.
    """
    changed = []
    for module in network.modules():
        quick = _quick_forward(module)
        if quick is not None and "forward" not in vars(module):
            module.forward = partial(quick, module.forward)  # type: ignore[method-assign]
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _quick_forward(module: nn.Module) -> Callable[[_Forward, Tensor], Tensor] | None:
    if isinstance(module, nn.ReLU | nn.ReLU6 | nn.MaxPool2d):
        return _with_dense_gradient
    if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
        return _mean
    if not isinstance(module, nn.Conv2d) or not _is_slow(module):
        return None
    return partial(_by_way_of_stride_1, module) if _is_plain(module) and max(module.kernel_size) <= 3 else _in_float32


def _is_slow(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups == convolution.in_channels == convolution.out_channels > 1
    return depthwise and (max(convolution.stride) > 1 or max(convolution.kernel_size) > 3)


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Whether it does no more than its numbers say; one of a class of its own may quantise."""
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return type(convolution) is nn.Conv2d and zeros and convolution.bias is None


def _by_way_of_stride_1(convolution: nn.Conv2d, forward: _Forward, x: Tensor) -> Tensor:
    if not _is_quick(x) or not torch.is_autocast_enabled("cpu"):
        return _in_float32(forward, x)
    kind = torch.get_autocast_dtype("cpu")
    y: Tensor = StridedDepthwise.apply(
        x.to(kind), convolution.weight.to(kind), convolution.stride, convolution.padding, convolution.dilation
    )  # type: ignore[no-untyped-call]
    return y


def _mean(forward: _Forward, x: Tensor) -> Tensor:
    if not _is_quick(x) or x.dim() != 4:
        return forward(x)
    y: Tensor = MeanOfMap.apply(x)  # type: ignore[no-untyped-call]
    return y


def _is_quick(x: Tensor) -> bool:
    """Whether other gradients than PyTorch's pay; torch.compile makes kernels of its own."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _in_float32(forward: _Forward, x: Tensor) -> Tensor:
    if x.device.type != "cpu":
        return forward(x)
    with torch.autocast("cpu", enabled=False):
        return forward(x if x.dtype == torch.float64 else x.float())


def _with_dense_gradient(forward: _Forward, x: Tensor) -> Tensor:
    y = forward(x)
    if y.requires_grad and _is_quick(y):
        channels_last = y.dim() == 4 and y.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        y.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))
    return y
