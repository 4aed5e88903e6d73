"""A network in training on a CPU -> the same network, without the kernels that are slow there.

Measured on an AMD EPYC with AVX512-bf16, torch 2.15, one thread, channels last:

- of a 16x16 map of 96 channels, batch 64, the gradient by the input of a depthwise 3x3 convolution of stride 2 takes 46 ms
  in bfloat16 and 2.1 ms in float32; the gradient by the weights of a depthwise 5x5 takes 36 ms and 13 ms. Depthwise 3x3
  of stride 1 is as fast or faster in bfloat16.
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

_Forward = Callable[[Tensor], Tensor]


@contextmanager
def without_slow_kernels(network: nn.Module) -> Iterator[None]:
    """Inside the block, where they are on a CPU, slow convolutions of `network` leave autocast and compute in float32, and
    ReLUs and max pools make their gradients dense, which changes no value.

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
    return _in_float32 if isinstance(module, nn.Conv2d) and _is_slow(module) else None


def _is_slow(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups == convolution.in_channels == convolution.out_channels > 1
    return depthwise and (max(convolution.stride) > 1 or max(convolution.kernel_size) > 3)


def _in_float32(forward: _Forward, x: Tensor) -> Tensor:
    if x.device.type != "cpu":
        return forward(x)
    with torch.autocast("cpu", enabled=False):
        return forward(x.float())


def _with_dense_gradient(forward: _Forward, x: Tensor) -> Tensor:
    y = forward(x)
    # torch.compile makes kernels of its own, for whatever layout there is.
    if y.requires_grad and y.device.type == "cpu" and not torch.compiler.is_compiling():
        channels_last = y.dim() == 4 and y.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        y.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))
    return y
