"""Functions and modules that are made of others: their definitions, which a trace goes into.

torch computes an attention by one function, in kernels of its own; engines know its products and its softmax.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Definition = Callable[[], Any]
_Given = Mapping[str, Any]

_MAPS = ("query", "key", "value")
_ATTENTION = (*_MAPS, "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_MULTI_HEAD = (*_MAPS, "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")


def definition_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Definition | None:
    """What does this call of a function by simpler ones; None where nothing does."""
    if function is torch.functional.einsum:
        return _einsum_of(args)
    if function is not F.scaled_dot_product_attention:
        return None
    given = {**dict(zip(_ATTENTION, args, strict=False)), **kwargs}
    heads = {given[name].shape[:-2] for name in _MAPS}
    unusual = given.get("dropout_p") or given.get("enable_gqa") or len(heads) > 1
    return None if unusual else partial(_attention, given)


def module_definition(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Definition | None:
    """As `definition_of`, of the forward of a module."""
    if type(module) is not nn.MultiheadAttention or not module.batch_first or not module._qkv_same_embed_dim:
        return None
    given = {**dict(zip(_MULTI_HEAD, args, strict=False)), **kwargs}
    masked = any(given.get(name) is not None for name in ("key_padding_mask", "attn_mask")) or given.get("is_causal")
    unusual = masked or module.add_zero_attn or module.bias_k is not None
    return None if unusual or given["query"].dim() == 2 else partial(_multi_head, module, given)


def _attention(given: _Given) -> Tensor:
    """softmax(query key^T scale + mask) value, as the documentation of torch defines it."""
    query, key, value = (given[name] for name in _MAPS)
    scale, mask = given.get("scale"), given.get("attn_mask")
    scores: Tensor = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if given.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(mask.logical_not(), -math.inf)
    if mask is not None:
        scores = scores + mask
    result: Tensor = scores.softmax(-1) @ value
    return result


def _einsum_of(args: tuple[Any, ...]) -> Definition | None:
    """Of two tensors that are summed over what both have and the result lacks; of nothing else."""
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


def _multi_head(module: nn.MultiheadAttention, given: _Given) -> tuple[Tensor, Tensor | None]:
    """Attention Is All You Need (arXiv 1706.03762), section 3.2.2."""
    maps = [given[name] for name in _MAPS]
    weight, bias = module.in_proj_weight, module.in_proj_bias
    if all(each is maps[0] for each in maps):
        parts = F.linear(maps[0], weight, bias).chunk(3, -1)
    else:
        biases = (None,) * len(maps) if bias is None else bias.chunk(3)
        parts = tuple(F.linear(*each) for each in zip(maps, weight.chunk(3), biases, strict=True))
    heads = (module.num_heads, module.head_dim)
    queries, keys, values = (part.unflatten(-1, heads).transpose(1, 2) for part in parts)
    shares = (queries @ keys.mT * module.head_dim**-0.5).softmax(-1)
    result = module.out_proj((shares @ values).transpose(1, 2).flatten(2))
    if not given.get("need_weights", True):
        return result, None
    return result, shares.mean(1) if given.get("average_attn_weights", True) else shares
