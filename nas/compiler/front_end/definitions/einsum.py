"""einsum: of two tensors that are summed over what both have and the result lacks."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor


def _einsum_of(*args: Any) -> Callable[[], Tensor] | None:
    """Of two tensors that are summed over what both have and the result lacks; of nothing else, and none that spreads an axis of 1."""
    if len(args) != 3 or not isinstance(args[0], str) or "->" not in args[0] or "." in args[0]:
        return None
    inputs, _, result = args[0].replace(" ", "").partition("->")
    left, _, right = inputs.partition(",")
    letters = [left, right, result]
    if any(len(set(each)) < len(each) for each in letters) or set(result) - {*left, *right}:
        return None
    batch = [letter for letter in left if letter in right and letter in result]
    summed = [letter for letter in left if letter in right and letter not in result]
    own = [[letter for letter in each if letter not in (*batch, *summed)] for each in (left, right)]
    if not summed or not batch or not {*own[0], *own[1]} <= set(result):
        return None
    sizes = [dict(zip(names, tensor.shape, strict=False)) for names, tensor in zip(letters, args[1:], strict=False)]
    if any(sizes[0].get(letter) != sizes[1].get(letter) for letter in (*batch, *summed)):
        return None
    return partial(_product, args[1:], letters, (batch, summed, own))


def _product(
    tensors: tuple[Tensor, Tensor], letters: list[str], parts: tuple[list[str], list[str], list[list[str]]]
) -> Tensor:
    """An einsum as one matrix product for each place of the batch's axes."""
    batch, summed, own = parts
    orders = [[*batch, *own[0], *summed], [*batch, *summed, *own[1]]]
    first, second = (
        tensor.permute([names.index(letter) for letter in order])
        for tensor, names, order in zip(tensors, letters, orders, strict=False)
    )
    heads, depth = first.shape[: len(batch)], math.prod(first.shape[len(batch) + len(own[0]) :])
    outer = [*first.shape[len(batch) : len(batch) + len(own[0])], *second.shape[len(batch) + len(summed) :]]
    product = first.reshape(*heads, -1, depth) @ second.reshape(*heads, depth, -1)
    order = [*batch, *own[0], *own[1]]
    return product.reshape(*heads, *outer).permute([order.index(letter) for letter in letters[2]])


MAKERS = {torch.functional.einsum: _einsum_of}
