"""What PyTorch computes for a seeded input: kept beside the programs, and what every one of them is held against."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nas.compiler.front_end.nests import tensors_in
from nas.compiler.front_end.written_out import written_out
from nas.core.seeding import stream

Arrays = dict[str, NDArray[np.float32]]


def ground_truth(
    module: nn.Module, shapes: dict[str, tuple[int, ...]], outputs: tuple[str, ...], seed: int = 0
) -> Arrays:
    """Inputs and outputs by name, in evaluation mode, computed in float64 by a copy of `module`.

    The inputs are seeded 8-bit pixels / 255, so that an 8-bit input quantiser loses nothing. Float64 is near enough to
    the exact answer that a fake-quantised value falls on the wrong side of a rounding boundary next to never.
    """
    inputs = {
        name: (stream(seed, "ground_truth", name).integers(0, 256, shape) / 255.0).astype(np.float32)
        for name, shape in shapes.items()
    }
    try:
        result = _answer(copy.deepcopy(module).double(), list(inputs.values()), np.float64)
    except RuntimeError:  # a forward that makes, keeps or casts to numbers of another kind
        result = _answer(copy.deepcopy(module), list(inputs.values()), np.float32)
    results = (tensor.to(torch.float32).cpu().numpy() for tensor in tensors_in(result))
    computed = dict(zip(outputs, results, strict=True))
    return {**inputs, **computed}


def _answer(module: nn.Module, inputs: list[NDArray[np.float32]], kind: type[np.floating[Any]]) -> Any:
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.no_grad(), written_out():
        return module.eval()(*(torch.from_numpy(array.astype(kind)).to(device) for array in inputs))
