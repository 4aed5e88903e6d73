"""A network in training on a CPU -> the same network, without the kernels that are slower in bfloat16 than in float32.

Measured on an AMD EPYC with AVX512-bf16, torch 2.15, one thread, channels last, a 16x16 map of 96 channels, batch 64:
the gradient by the input of a depthwise 3x3 convolution of stride 2 takes 46 ms in bfloat16 and 2.1 ms in float32; the gradient by
the weights of a depthwise 5x5 takes 36 ms and 13 ms. Depthwise 3x3 of stride 1 is as fast or faster in bfloat16.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


@contextmanager
def without_slow_kernels(network: nn.Module) -> Iterator[None]:
    """Inside the block such convolutions of `network` leave autocast and compute in float32, where they are on a CPU.

    Blocks may be nested: the inner one finds nothing left to do.
    """
    slow = [module for module in network.modules() if isinstance(module, nn.Conv2d) and _is_slow(module)]
    slow = [module for module in slow if "forward" not in vars(module)]
    for module in slow:
        module.forward = partial(_in_float32, module.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in slow:
            del module.forward


def _is_slow(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups == convolution.in_channels == convolution.out_channels > 1
    return depthwise and (max(convolution.stride) > 1 or max(convolution.kernel_size) > 3)


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if x.device.type != "cpu":
        return forward(x)
    with torch.autocast("cpu", enabled=False):
        return forward(x.float())
