"""A stand-in gives the shape and the type that torch gives, or nothing: then torch is asked, and says what is wrong."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.compiler.front_end.tracing.stand_ins import stand_in

SIZES = (1, 2, 4)


def some_tensor(generator: np.random.Generator, rank: int) -> torch.Tensor:
    dtype = torch.float64 if generator.random() < 0.1 else torch.float32
    shape = tuple(int(size) for size in generator.choice(SIZES, rank))
    return torch.empty(shape, dtype=dtype, device="meta")


def linear(generator: np.random.Generator) -> tuple[object, ...]:
    bias = None if generator.random() < 0.3 else some_tensor(generator, 1)
    return (some_tensor(generator, int(generator.integers(1, 4))), some_tensor(generator, 2), bias)


def convolution(generator: np.random.Generator) -> tuple[object, ...]:
    bias = None if generator.random() < 0.5 else some_tensor(generator, 1)
    pairs = [tuple(int(each) for each in generator.integers(low, 3, 2)) for low in (1, 0, 1)]
    return (some_tensor(generator, 4), some_tensor(generator, 4), bias, *pairs, int(generator.choice((1, 2))))


def batch_norm(generator: np.random.Generator) -> tuple[object, ...]:
    return (some_tensor(generator, 4), *(some_tensor(generator, 1) for _ in range(4)), False)


@pytest.mark.parametrize(
    ("function", "arguments"), [(F.linear, linear), (torch.conv2d, convolution), (F.batch_norm, batch_norm)]
)
def test_a_stand_in_says_what_torch_says_or_nothing(function, arguments) -> None:
    generator = np.random.default_rng(0)
    answered = 0
    for _ in range(3000):
        args = arguments(generator)
        stand = stand_in(function, args, {})
        if stand is not None:
            known = function(*args)
            assert (stand.shape, stand.dtype, stand.device) == (known.shape, known.dtype, known.device)
            answered += 1
    assert answered >= 10
