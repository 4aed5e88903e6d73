"""Attention: products of queries and keys, a softmax, and products with values."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_Given = Mapping[str, Any]

_MAPS = ("query", "key", "value")
_ATTENTION = (*_MAPS, "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_MULTI_HEAD = (*_MAPS, "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")


def _attention_of(*args: Any, **kwargs: Any) -> Callable[[], Tensor] | None:
    given = {**dict(zip(_ATTENTION, args, strict=False)), **kwargs}
    query, *others = (given[name].shape[:-2] for name in _MAPS)
    # Keys and values are of as many heads, or of one for all of them.
    fits = all(each in (query, (*query[:-1], 1)) for each in others)
    unusual = given.get("dropout_p") or given.get("enable_gqa") or not fits
    return None if unusual else partial(_attention, given)


def _attention(given: _Given) -> Tensor:
    """softmax(query key^T scale + mask) value, as the documentation of torch defines it."""
    query, key, value = (given[name] for name in _MAPS)
    scale, mask = given.get("scale"), given.get("attn_mask")
    scores: Tensor = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if given.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(mask.logical_not(), -math.inf)
    blind = None if mask is None else _blind(mask)
    if mask is not None:
        scores = scores + (mask if blind is None else mask.masked_fill(blind, 0.0))
    result: Tensor = scores.softmax(-1) @ value
    return result if blind is None else result * blind.logical_not().to(result.dtype)


def _blind(mask: Tensor) -> Tensor | None:
    """The queries that may look at nothing, which torch gives zeros; None where all see something, or nobody knows the mask."""
    if mask.device.type == "meta":
        return None
    blind = (mask == -math.inf).all(-1, keepdim=True)
    return blind if bool(blind.any()) else None


def usual(module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Given | None:
    """The arguments of an attention of many heads by their names; None where `multi_head` doesn't know them."""
    if not module.batch_first:
        return None
    given = {**dict(zip(_MULTI_HEAD, args, strict=False)), **kwargs}
    masked = any(given.get(name) is not None for name in ("key_padding_mask", "attn_mask")) or given.get("is_causal")
    unusual = masked or module.add_zero_attn or module.bias_k is not None
    return None if unusual or given["query"].dim() == 2 else given


def multi_head(module: nn.MultiheadAttention, given: _Given) -> tuple[Tensor, Tensor | None]:
    """Attention Is All You Need (arXiv 1706.03762), section 3.2.2."""
    maps = [given[name] for name in _MAPS]
    weight, bias = module.in_proj_weight, module.in_proj_bias
    if weight is not None and all(each is maps[0] for each in maps):
        parts = F.linear(maps[0], weight, bias).chunk(3, -1)
    else:
        # Keys and values of other widths than the queries have weights apart.
        apart = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        weights = apart if weight is None else weight.chunk(3)
        biases = (None,) * len(maps) if bias is None else bias.chunk(3)
        parts = tuple(F.linear(*each) for each in zip(maps, weights, biases, strict=True))
    heads = (module.num_heads, module.head_dim)
    queries, keys, values = (part.unflatten(-1, heads).transpose(1, 2) for part in parts)
    shares = (queries @ keys.mT * module.head_dim**-0.5).softmax(-1)
    result = module.out_proj((shares @ values).transpose(1, 2).flatten(2))
    if not given.get("need_weights", True):
        return result, None
    return result, shares.mean(1) if given.get("average_attn_weights", True) else shares


MAKERS = {F.scaled_dot_product_attention: _attention_of}
