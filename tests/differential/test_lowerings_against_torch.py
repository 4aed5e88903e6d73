"""One function of torch at a time: what the engines can do is done by them, the rest by the host; the values are torch's."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.quantizers import ActivationQuantizer
from nas.ir.command import Host
from nas.ir.program import Operator
from tests.differential.test_compiler_against_torch import check_values, compiled_of

Function = Callable[[torch.Tensor], torch.Tensor]


class Forward(nn.Module):
    """A function as a module, with a convolution before it, so that nothing is done to the input itself."""

    def __init__(self, function: Function, channels: int = 6, is_flat: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.stem = nn.Conv2d(3, channels, 3, padding=1)
            self.gate = nn.Conv2d(3, channels, 1)
            self.linear = nn.Linear(channels, 5)
            self.tokens = nn.Conv1d(channels, 4, 3, stride=2, padding=1, bias=False)
            self.norm1d = nn.BatchNorm1d(channels)
            self.columns = nn.Parameter(torch.randn(9, 5))
            self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)
            self.norm3d = nn.BatchNorm3d(channels // 2)
            self.few_bits = ActivationQuantizer(4)
            self.norm2d = nn.BatchNorm2d(channels)
            for norm in (self.norm1d, self.norm2d, self.norm3d):
                nn.init.normal_(norm.running_mean)
                nn.init.uniform_(norm.weight, 0.5, 1.5)
            self.layer_norm = nn.LayerNorm(channels)
            nn.init.uniform_(self.layer_norm.weight, 0.5, 1.5)
            nn.init.normal_(self.layer_norm.bias)
        self.function, self.is_flat = function, is_flat
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        return self.function(self, y.mean((2, 3)) if self.is_flat else y)  # type: ignore[call-arg]


def _masked(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    mask = x.new_zeros(x.shape[2:])
    for row in range(0, x.shape[2], 2):
        mask[row] = row + 1
    return x.masked_fill(mask > 2, -1.0)


def _volume_windows(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a transformer of videos does: windows of a volume, a layer on their tokens, back again, and the residual sum."""
    volume = x[:, :, :6, :8].reshape(2, 6, 6, 4, 2)
    windows = volume.reshape(2, 2, 3, 3, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(2, 12, 12, 2)
    tokens = F.linear(windows, module.gate.weight[:2, :2, 0, 0]).reshape(2, 2, 3, 2, 3, 2, 2, 2)
    return volume + tokens.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(2, 6, 6, 4, 2)


def _tokens(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).transpose(1, 2)


def heads_of(x: torch.Tensor) -> list[torch.Tensor]:
    """Queries, keys and values (batch, 2 heads, tokens, channels)."""
    return [part.flatten(2).unflatten(1, (2, 3)).mT for part in (x, 2 * x, x.sigmoid())]


def _windows(x: torch.Tensor, layer: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Three columns of a row to a window; all windows of all images are a batch."""
    y = layer(x.reshape(2, 6, 7, 3, 3).permute(0, 2, 3, 4, 1).reshape(2 * 7 * 3, 3, 6))
    return y.reshape(2, 7, 3, *y.shape[1:]).permute(0, 4, 1, 2, 3)


def _window_heads(x: torch.Tensor) -> torch.Tensor:
    queries, keys, values = F.linear(x, MIXED.to(x.dtype)).reshape(42, 3, 3, 2, 3).permute(2, 0, 3, 1, 4)
    shares = (queries @ keys.transpose(-2, -1) + BIAS[:, :3, :3].unsqueeze(0) + BIAS[0, :3, :3]).softmax(dim=-1)
    return (shares @ values).transpose(1, 2).reshape(42, 3, 6)


def _unbound(x: torch.Tensor, unbind: Callable[[torch.Tensor], Sequence[torch.Tensor]]) -> torch.Tensor:
    """Three parts of the channels, in the order of axes that vision transformers have them in."""
    queries, keys, values = unbind(x.flatten(2).mT.reshape(2, 63, 3, 1, 2).permute(2, 0, 3, 1, 4))
    return queries * keys - values


EACH = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
BEFORE = torch.ones(63, 63, dtype=torch.bool).triu(1)
BIAS = torch.linspace(-2.0, 2.0, 2 * 63 * 63).reshape(2, 63, 63)
MIXED = torch.linspace(-1.0, 1.0, 18 * 6).reshape(18, 6).sin()
PER_CHANNEL = torch.linspace(-1.0, 2.0, 6)
WHOLE = torch.linspace(-1.0, 1.0, 6 * 7 * 9).reshape(6, 7, 9)

# name: (function of (module, map (2,6,7,9)), layers that the host has to do)
MAPS: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    "a scalar added": (lambda m, x: x + 1.5, 0),
    "a scalar subtracted": (lambda m, x: x - 1.5, 0),
    "subtracted from a scalar": (lambda m, x: 1.0 - x, 0),
    "times a scalar": (lambda m, x: 3 * x, 0),
    "over a scalar": (lambda m, x: x / 7, 0),
    "negative": (lambda m, x: -x, 0),
    "in place": (lambda m, x: x.mul_(2.0).add_(1.0).sub_(x), 0),
    "alpha": (lambda m, x: torch.add(x, F.relu(x), alpha=0.5), 0),
    "a difference": (lambda m, x: F.relu(x) - x, 0),
    "a difference the other way": (lambda m, x: torch.rsub(x, F.relu(x), alpha=2), 0),
    "a square": (lambda m, x: x**2 + x.square(), 0),
    "a product": (lambda m, x: x * torch.sigmoid(x), 0),
    "a constant for each channel": (lambda m, x: x * PER_CHANNEL.view(1, -1, 1, 1) + PER_CHANNEL.view(6, 1, 1), 0),
    "minus a constant for each channel": (lambda m, x: PER_CHANNEL.view(6, 1, 1) - x, 0),
    "over a constant for each channel": (lambda m, x: x / (PER_CHANNEL.view(6, 1, 1) + 3.0), 0),
    "a constant for each column": (lambda m, x: x + torch.arange(9.0), 0),
    "a whole constant": (lambda m, x: x * WHOLE + WHOLE, 0),
    "a whole constant for tokens": (lambda m, x: _tokens(x) + BIAS[0, :, :6], 0),
    "a constant for each place of five axes": (
        lambda m, x: x.view(2, 2, 3, 7, 9) * WHOLE.view(2, 3, 7, 9) + WHOLE.view(2, 3, 7, 9)[:, :1, :, :1],
        0,
    ),
    "a class token": (lambda m, x: torch.cat([PER_CHANNEL.expand(2, 1, 6), _tokens(x)], 1), 0),
    "tokens before and behind": (
        lambda m, x: torch.cat([BIAS[:1, :4, :6].expand(2, -1, -1), _tokens(x), BIAS[1:, :2, :6].expand(2, -1, -1)], 1),
        0,
    ),
    "a constant for each image joined": (lambda m, x: torch.cat([x, WHOLE.expand(2, -1, -1, -1) + EACH], 1), 1),
    "a constant for each image": (lambda m, x: x * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1), 1),
    "gated": (lambda m, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), 0),
    "gated the other way": (lambda m, x: torch.sigmoid(x.mean((2, 3), True)).mul(x) + x, 0),
    "masked": (lambda m, x: x * torch.sigmoid(x.mean(1, keepdim=True)), 0),
    "a global context": (lambda m, x: x + x.amax((2, 3), keepdim=True), 0),
    "two gates": (lambda m, x: x.amax((2, 3), keepdim=True) * x.mean(1, keepdim=True), 1),
    "gated and summed and clipped": (lambda m, x: F.relu6(x * x.mean((2, 3), True) + x), 0),
    "added to a shuffle": (lambda m, x: m.stem(x[:, :3]) + F.channel_shuffle(x, 2), 0),
    "added to a shuffle of views": (
        lambda m, x: m.stem(x[:, :3]) * x.view(2, 2, 3, 7, 9).transpose(1, 2).reshape(2, 6, 7, 9),
        0,
    ),
    "leaky relu": (lambda m, x: F.leaky_relu(x, 0.2), 0),
    "tanh": (lambda m, x: torch.tanh(x), 0),
    "clamps": (lambda m, x: x.clamp(min=-0.1).clamp(max=0.2).clamp_min(0.0), 0),
    "gelu": (lambda m, x: F.gelu(x), 0),
    "gelu by tanh": (lambda m, x: F.gelu(x, approximate="tanh"), 0),
    "mish": (lambda m, x: F.mish(x), 0),
    "one over a square root": (lambda m, x: torch.rsqrt(x + 2), 0),
    "softmax": (lambda m, x: x.softmax(1), 0),
    "softmax of columns": (lambda m, x: torch.softmax(x, -1) + F.softmax(x, dim=2), 0),
    "a power of e and one over": (lambda m, x: torch.exp(x).reciprocal() + torch.reciprocal(x.exp()), 0),
    "linear on the last axis": (lambda m, x: m.linear(x.permute(0, 2, 3, 1)), 0),
    "linear and back": (lambda m, x: m.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 0),
    "linear on tokens": (lambda m, x: m.linear(x.flatten(2).transpose(1, 2)), 0),
    "transposed by a property": (lambda m, x: x.flatten(2).mT + 1, 0),
    "convolution of one axis": (lambda m, x: m.tokens(x.flatten(2)), 0),
    "pools of one axis": (lambda m, x: F.avg_pool1d(F.max_pool1d(x.flatten(2), 3, 2, 1), 2), 0),
    "batch norm of tokens": (lambda m, x: m.norm1d(x.flatten(2)), 0),
    "batch norm of volumes": (lambda m, x: m.norm3d(x.view(2, 3, 2, 7, 9)), 0),
    "layer norm": (lambda m, x: F.layer_norm(x, x.shape[1:]), 1),
    "group norm": (lambda m, x: F.group_norm(x, 3, m.layer_norm.weight, m.layer_norm.bias), 0),
    "instance norm": (lambda m, x: F.instance_norm(x, weight=m.layer_norm.weight, eps=0.01), 0),
    "instance norm of the training": (
        lambda m, x: F.instance_norm(x, m.norm1d.running_mean, m.norm1d.running_var, use_input_stats=False),
        1,
    ),
    "a quotient": (lambda m, x: x / (x.sigmoid() + 0.5), 0),
    "a quotient of each place": (lambda m, x: x / x.exp().sum(1, keepdim=True), 0),
    "group norm of all channels": (lambda m, x: F.group_norm(x, 1, m.layer_norm.weight, eps=0.1), 0),
    "group norm of each channel": (lambda m, x: F.group_norm(x, 6, bias=m.layer_norm.bias), 0),
    "group norm of tokens": (lambda m, x: F.group_norm(x.flatten(2), 2), 0),
    "group norm of volumes and rows": (
        lambda m, x: F.group_norm(x.view(2, 6, 7, 3, 3), 2).flatten(1)[:, :6] + F.group_norm(x.mean((2, 3)), 2),
        0,
    ),
    "unit length": (lambda m, x: F.normalize(x) + F.normalize(x.flatten(2), dim=-1)[..., None, :1], 0),
    "unit length of almost nothing": (lambda m, x: F.normalize((x * 1e-3).relu() * 1e-3, dim=2, eps=1e-5), 0),
    "another norm": (lambda m, x: F.normalize(x, p=1), 1),
    "layer norm of channels": (lambda m, x: m.layer_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 0),
    "layer norm of tokens": (lambda m, x: F.layer_norm(x.flatten(2), (63,), eps=0.1), 0),
    "pool that divides": (lambda m, x: F.adaptive_avg_pool2d(x[:, :, :6], 3), 0),
    "pool that does not divide": (lambda m, x: F.adaptive_avg_pool2d(x, 4), 0),
    "pool to the same size": (lambda m, x: F.adaptive_avg_pool2d(x, (7, 9)), 0),
    "maximum of a pool that divides": (lambda m, x: F.adaptive_max_pool2d(x, (1, 3)), 0),
    # Of three axes the first is the channels of one map to torch, not images with a sequence each.
    "maximum of maps without images": (lambda m, x: F.max_pool2d(x.mean(1), 3, 1, 1), 1),
    "average of maps without images": (lambda m, x: F.avg_pool2d(x.mean(1), 3), 1),
    "pool that divides maps without images": (lambda m, x: F.adaptive_avg_pool2d(x.mean(1), (1, 3)), 1),
    "average with a ceiling": (lambda m, x: F.avg_pool2d(x, 2, ceil_mode=True), 0),
    "average with a ceiling and padding": (lambda m, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), 0),
    "average with a ceiling that reaches out": (lambda m, x: F.avg_pool2d(x, (3, 4), 3, 1, ceil_mode=True), 1),
    "average with a divisor": (lambda m, x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5), 0),
    "maximum with a ceiling": (lambda m, x: F.max_pool2d(x, 2, ceil_mode=True), 0),
    "zeros before a convolution": (lambda m, x: m.stem(F.pad(F.pad(x[:, :3], (0, 1)), (2, 0, 1, 3))), 0),
    "zeros before a sum": (lambda m, x: F.pad(x, (1, 0, 0, 1)) + 1, 0),
    "zeros before a convolution and a pool": (
        lambda m, x: m.stem(y := F.pad(x[:, :3], (1, 0, 1, 0))) + F.max_pool2d(y, 3, 1, 1).mean(1, keepdim=True),
        0,
    ),
    "spread over others": (
        lambda m, x: x * x.mean((2, 3), True).sigmoid().expand_as(x) + x[:, :1].expand(2, 6, 7, 9) / x.exp(),
        0,
    ),
    "spread and nothing else": (lambda m, x: x[:, :1].expand(2, 6, 7, 9).relu(), 1),
    "no zeros": (lambda m, x: F.pad(x, (0, 0, 0, 0)) + 1, 0),
    "ones": (lambda m, x: F.pad(x, (0, 2), value=1.0), 0),
    "zeros around channels": (lambda m, x: F.pad(x, (0, 0, 1, 0, 2, 3)), 0),
    "zeros around tokens": (lambda m, x: F.pad(_tokens(x), (0, 0, 1, 1)), 0),
    "more zeros than there are places": (lambda m, x: F.pad(x, (0, 0, 0, 0, 0, 7)), 1),
    "zeros at the end": (lambda m, x: F.pad(x, (1, 0)), 0),
    "reflections": (lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect"), 0),
    "upsampled": (lambda m, x: F.interpolate(x, scale_factor=2), 0),
    "transposed convolution": (lambda m, x: F.conv_transpose2d(x, m.stem.weight, stride=2), 0),
    "joined along rows": (lambda m, x: torch.cat([x, F.relu(x)], 2), 0),
    "joined along columns": (lambda m, x: torch.cat([x, F.relu(x)], dim=-1), 0),
    "joined along the batch": (lambda m, x: torch.cat([x, F.relu(x)]), 1),
    "stacked": (lambda m, x: torch.stack([x, F.relu(x)], 2).flatten(1, 2), 0),
    "cut along rows": (lambda m, x: torch.cat(x.split([3, 4], 2)[::-1], 2), 0),
    "cut along all axes": (lambda m, x: x[:, 1:5, 2:-1, ..., 3:] + 1, 0),
    "one row": (lambda m, x: x[:, :, 3] + x[..., -4, :], 0),
    "one pixel": (lambda m, x: m.linear(x[:, :, 0, 1]), 0),
    "every second": (lambda m, x: x[:, ::2] + x[:, 1::2, :, :], 0),
    "every second of an odd number": (lambda m, x: x[:, :, ::2], 1),
    "a part of every third": (lambda m, x: x[:, 3::3], 1),
    "unbound": (lambda m, x: x.unbind(2)[1] + x.select(2, 0), 0),
    "chunks of columns": (lambda m, x: x.chunk(3, dim=3)[2] + 0.0, 0),
    "turned": (lambda m, x: x.transpose(2, 3) + x.permute(0, 1, 3, 2), 0),
    "a window transformer's view": (
        lambda m, x: m.linear(x[:, :, :6].reshape(2, 6, 3, 2, 3, 3).permute(0, 2, 4, 3, 5, 1).reshape(2, 9, 6, 6)),
        0,
    ),
    "a video transformer's windows": (_volume_windows, 0),
    "sizes": (lambda m, x: x.view(x.size(0), x.shape[1] // 2, -1).sum(1), 0),
    "means": (lambda m, x: x.mean((1, 3)) + x.mean((1, 2, 3)).unsqueeze(1), 0),
    "a mean of all": (lambda m, x: x - x.mean(), 2),
    "iterated": (lambda m, x: torch.stack([row + 1 for row in x]), 2),
    "an index of integers": (lambda m, x: x[:, torch.tensor([2, 0, 2])], 0),
    "a mask made on the way": (_masked, 1),
    "places made on the way": (lambda m, x: x * torch.arange(x.shape[3], device=x.device) + torch.ones_like(x), 1),
    "softmax with a dtype": (lambda m, x: F.softmax(x, dim=-1, dtype=None), 0),
    "attention": (lambda m, x: m.attention(*[_tokens(x)] * 3)[0], 0),
    "attention and its shares": (lambda m, x: m.attention(*[_tokens(x)] * 3)[1], 0),
    "attention and the shares of each head": (
        lambda m, x: m.attention(*[_tokens(x)] * 3, average_attn_weights=False)[1],
        0,
    ),
    "attention to others": (lambda m, x: m.attention(_tokens(x[:, :, 1:]), _tokens(x), _tokens(2 * x))[0], 0),
    "attention with a mask": (lambda m, x: m.attention(*[_tokens(x)] * 3, attn_mask=BEFORE[:63, :63])[0], 3),
    "scaled dot products": (lambda m, x: F.scaled_dot_product_attention(*heads_of(x)), 0),
    "scaled dot products up to here": (lambda m, x: F.scaled_dot_product_attention(*heads_of(x), is_causal=True), 0),
    "scaled dot products by another scale": (lambda m, x: F.scaled_dot_product_attention(*heads_of(x), scale=0.7), 0),
    "scaled dot products behind a mask": (
        lambda m, x: F.scaled_dot_product_attention(*heads_of(x), attn_mask=BEFORE[:63, :63].logical_not()),
        0,
    ),
    "scaled dot products and a bias": (lambda m, x: F.scaled_dot_product_attention(*heads_of(x), BIAS), 0),
    "a product of two maps": (lambda m, x: x @ x.transpose(2, 3), 0),
    "a product of two maps of another depth": (lambda m, x: torch.matmul(x[:, :, :, :4], x[:, :, 1:5].relu()), 0),
    "a product of two batches of matrices": (lambda m, x: torch.bmm(x.flatten(2), x.flatten(2).mT.sigmoid()), 0),
    "a linear attention": (lambda m, x: heads_of(x)[0].relu() @ (heads_of(x)[1].relu().mT @ heads_of(x)[2]), 0),
    "a product with one matrix for all": (lambda m, x: x @ x[:, :1].mT, 0),
    "an einsum": (lambda m, x: torch.einsum("b h i d, b h j d -> b h i j", x, 2 * x), 0),
    "an einsum of another order": (lambda m, x: torch.einsum("bhid,bdkj->bjkih", x, x.transpose(1, 3)), 0),
    "an einsum over two axes": (lambda m, x: torch.einsum("bhid,bjid->bjh", x, x.sigmoid()), 0),
    "an einsum that spreads an axis": (lambda m, x: torch.einsum("bhid,bhjd->bhij", x, x[:, :1]), 1),
    "an einsum that spreads what it sums": (lambda m, x: torch.einsum("bhid,bhjd->bhij", x[..., :1], x), 1),
    "an einsum with itself": (lambda m, x: torch.einsum("bhid->bid", x), 1),
    "windows": (lambda m, x: _windows(x, lambda y: m.linear(F.layer_norm(y, (6,)))), 0),
    "attention in windows": (lambda m, x: _windows(x, lambda y: m.attention(y, y, y)[0]), 0),
    "heads of windows": (lambda m, x: _windows(x, _window_heads), 0),
    "a norm of windows": (lambda m, x: _windows(x, lambda y: m.norm1d(y.flatten(0, 1)).reshape_as(y)), 0),
    "windows with a bias": (lambda m, x: _windows(x, lambda y: (y + BIAS[0, :3, :6]).chunk(2, 2)[1].exp()), 0),
    "windows with a constant each": (lambda m, x: _windows(x, lambda y: y * torch.arange(1.0, 43.0).view(42, 1, 1)), 3),
    "means of windows": (
        lambda m, x: _windows(
            x, lambda y: y + y.mean((1, 2), keepdim=True) + y.sum(-1)[:, :1, None] + y.amax(1)[:, None]
        ),
        0,
    ),
    "a layer on tokens": (lambda m, x: m.linear(x.permute(0, 2, 3, 1).reshape(126, 6)).relu().view(2, 63, 5), 0),
    "windows upside down": (lambda m, x: _windows(x, lambda y: y.flip(1)), 2),
    "windows of windows": (
        lambda m, x: _windows(x, lambda y: y.reshape(42 * 3, 6).relu().view(42, 3, 6).softmax(2)[:, 1:].mT),
        0,
    ),
    "windows at the end": (lambda m, x: x.reshape(2 * 6, 7, 9).relu(), 1),
    "rolled": (lambda m, x: torch.roll(x, (-2, 1), (2, 3)) + x.roll(3, 1), 0),
    "rolled flat": (lambda m, x: torch.roll(x, 1), 1),
    "heads unbound": (lambda m, x: _unbound(x, lambda heads: heads.unbind(0)), 0),
    "heads by their places": (lambda m, x: _unbound(x, lambda heads: (heads[0], heads[1], heads.select(0, -1))), 0),
    "heads turned twice": (lambda m, x: _unbound(x.mT, lambda heads: heads.mT.transpose(-1, 3).unbind(0)), 0),
    "heads turned and read": (lambda m, x: x.permute(1, 0, 2, 3).relu().sum(2), 1),
    "batch last and back": (lambda m, x: x.permute(3, 1, 2, 0).permute(3, 1, 2, 0) + 1, 0),
    "an index of lists": (lambda m, x: x[[1, 0]] + x[:, :, [0, 1], [2, 3]].mean(2)[:, :, None, None], 2),
    "the largest place": (lambda m, x: x.gather(1, x.argmax(1, keepdim=True)), 2),
    "flattened with the batch": (lambda m, x: x.flatten(0, 1).relu(), 1),
}
FLAT: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    "batch norm of rows": (lambda m, x: m.norm1d(x), 0),
    "layer norm of rows": (lambda m, x: F.layer_norm(x, (6,), m.layer_norm.weight), 0),
    "scalars of rows": (lambda m, x: (1 - x) * 2 / 3 + PER_CHANNEL, 0),
    "joined rows": (lambda m, x: torch.cat([x, m.linear(x)], 1), 0),
    "a product of rows": (lambda m, x: m.linear(x).sigmoid() * m.linear(x), 0),
    "a gate of rows": (lambda m, x: x * x.mean(1, keepdim=True), 0),
    "unsqueezed": (lambda m, x: x[:, :, None, None] * 2, 0),
    "softmax of rows": (lambda m, x: x.softmax(1), 0),
    "cut rows": (lambda m, x: x[:, 1:4] + x.narrow(1, 2, 3), 0),
}


@pytest.mark.parametrize("name", [*MAPS, *FLAT])
def test_a_function(name: str) -> None:
    function, host_calls = (MAPS | FLAT)[name]
    compiled = compiled_of(Forward(function, is_flat=name in FLAT), (2, 3, 7, 9))
    operators: tuple[Operator, ...] = compiled.naive.operators
    hosts = [operator.function.function for operator in operators if isinstance(operator.function, Host)]
    assert len(hosts) == host_calls, hosts
    check_values(compiled, 2e-6, orders=1)


def test_a_layer_norm_far_from_0_keeps_its_digits() -> None:
    """What is left of float32 numbers near 300 is good to 1e-4; a mean of squares less a square would leave 1e-2."""
    compiled = compiled_of(Forward(lambda m, x: m.layer_norm((x + 300).permute(0, 2, 3, 1))), (2, 3, 7, 9))
    check_values(compiled, 3e-4, orders=1)


def test_a_softmax_far_from_0_does_not_overflow() -> None:
    """e to the 300 is no float32 number; those near 300 are good to 3e-5."""
    compiled = compiled_of(Forward(lambda m, x: (x + 300).softmax(3)), (2, 3, 7, 9))
    check_values(compiled, 1e-4, orders=1)


def _shuffled_product(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module.stem(x[:, :3]) * x.view(2, 8, 12, 7, 9).transpose(1, 2).reshape(2, 96, 7, 9)


def test_channels_of_several_axes_are_cut_where_a_row_of_all_does_not_fit() -> None:
    row_bytes = 96 * 9 * 4
    compiled = compiled_of(Forward(_shuffled_product, channels=96), (2, 3, 7, 9), sram_bytes=2 * row_bytes)
    check_values(compiled, 2e-6, orders=1)


def test_a_sum_over_channels_has_a_table_of_channels() -> None:
    """Its places are channels while it is pooled; a table of them all would be as large as the map."""
    for function in (lambda m, x: x.view(2, 2, 3, 7, 9).sum(1), lambda m, x: x.view(2, 2, 3, 7, 9).mean(1) / 3):
        compiled = compiled_of(Forward(function), (2, 3, 7, 9))
        assert sorted(each.shape for each in compiled.naive.tensors if each.name.endswith(".table")) == [(2, 3)]
        check_values(compiled, 2e-6, orders=1)


def test_the_values_can_differ() -> None:
    """The comparison of this file fails where the function is another."""
    compiled = compiled_of(Forward(lambda m, x: x + 1.5), (2, 3, 7, 9))
    wrong = {name: array + np.float32(1e-4) * (name != "input") for name, array in compiled.truth.items()}
    with pytest.raises(AssertionError):
        check_values(type(compiled)(**{**vars(compiled), "truth": wrong}), 2e-6, orders=1)
