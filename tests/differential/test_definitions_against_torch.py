"""Functions that are made of others, one at a time: engines do what they are made of, and the values are torch's."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from nas.ir.command import Host
from tests.differential.test_compiler_against_torch import check_values, compiled_of
from tests.differential.test_lowerings_against_torch import PER_CHANNEL, Forward, heads_of

# name: (function of (module, map (2,6,7,9)), layers that the host has to do)
MAPS: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    "elu and its kin": (lambda m, x: F.elu(x, 0.5) + F.selu(x) + F.celu(x, 0.7), 0),
    "elu in place": (lambda m, x: F.elu(x, inplace=True) + x, 0),
    "softplus and its kin": (lambda m, x: F.softplus(x) + F.softplus(x, 2.0) + F.logsigmoid(x), 0),
    "a prelu": (lambda m, x: F.prelu(x, PER_CHANNEL.to(x.dtype)) + F.prelu(x, PER_CHANNEL[:1].to(x.dtype)), 0),
    "a gated linear unit": (
        lambda m, x: F.glu(x, 1) * F.glu(x[:, :3, :, :8].mT, 2).mean(2, keepdim=True).mT[:, :, :3].mean(2, True),
        0,
    ),
    "softsign and tanhshrink": (lambda m, x: F.softsign(x) + F.tanhshrink(x), 0),
    "log softmax": (lambda m, x: F.log_softmax(x, 1) + x.log_softmax(-1), 0),
    "roots and powers": (lambda m, x: (x.square() + 1) ** 0.5 + x.abs() ** 3 + (x.abs() + 1) ** -0.5 + x**4, 0),
    "a number over": (lambda m, x: 2.0 / (x.abs() + 1) + (x.abs() + 0.5).log(), 0),
    "products added": (lambda m, x: torch.addcmul(x, x.relu(), x.sigmoid(), value=0.5).lerp(x, 0.3), 0),
    "larger and smaller": (lambda m, x: torch.maximum(x, -x) - torch.minimum(x, 2 * x) + torch.max(x, x.relu()), 0),
    "larger than a constant for each channel": (
        lambda m, x: torch.maximum(x, m.norm1d.weight.view(6, 1, 1)) + x.minimum(x.mean((2, 3), keepdim=True)),
        0,
    ),
    "less than nothing around": (lambda m, x: F.pad(x, (-1, 2, 1, -2)) + 1, 0),
    "nothing but less around": (lambda m, x: m.stem(F.pad(x[:, :3], (-1, -1, 0, -2))), 0),
    "attention with one head of keys": (
        lambda m, x: F.scaled_dot_product_attention(heads_of(x)[0], *(each[:, :1] for each in heads_of(x)[1:])),
        0,
    ),
    "largest and smallest of an axis": (lambda m, x: x.max(1, keepdim=True)[0] + x * x.amin((2, 3), True), 0),
    "a largest value and its place": (lambda m, x: torch.max(x, 1).indices + 0 * x.min(1).values, 2),
    "lengths": (lambda m, x: x.norm(dim=1) + torch.linalg.vector_norm(x, dim=1) + x.norm(2, (1,)), 0),
    "a global response norm": (lambda m, x: x * x.norm(p=2, dim=(2, 3), keepdim=True), 0),
    "spreads": (lambda m, x: x.var((2, 3), correction=0) + x.std((2, 3)) + x.var((2, 3), unbiased=False), 0),
    "products with one matrix": (lambda m, x: x @ m.columns + (m.columns[:7].mT @ x)[..., :5].mean(2, True), 0),
    "a local response norm": (lambda m, x: F.local_response_norm(x, 5, 0.3) + F.local_response_norm(x, 2, beta=1.0), 0),
    "pixels shuffled": (lambda m, x: F.pixel_shuffle(x[:, :4], 2), 0),
    "pixels shuffled behind a convolution": (lambda m, x: F.pixel_shuffle(m.stem(x[:, :3])[:, :4], 2), 0),
    "pixels unshuffled": (lambda m, x: F.pixel_unshuffle(x[:, :, :6, :8], 2).relu(), 0),
    "pixels of few bits shuffled": (
        lambda m, x: m.stem(F.pixel_shuffle(m.few_bits(m.gate(x[:, :3]))[:, :4], 2).repeat(1, 3, 1, 1)),
        0,
    ),
    "channels shuffled": (lambda m, x: m.stem(F.channel_shuffle(x, 3)[:, :3]), 0),
    "flipped": (lambda m, x: x.flip(2, 3) + x.flip([1]), 0),
    "copies": (lambda m, x: x.repeat(1, 2, 1, 1)[:, 3:9] + x.repeat_interleave(2, 1)[:, :6], 0),
    "chosen places": (lambda m, x: x[:, [0, 2, 3, -1]] + x.index_select(1, torch.tensor([5, 4, 1, 1])), 0),
    "borders": (
        lambda m, x: F.pad(x, (2, 1, 0, 3), mode="reflect") + F.pad(x, (1, 2, 1, 2), mode="replicate").roll(1, 2),
        0,
    ),
    "a border around": (lambda m, x: m.stem(F.pad(x[:, :3], (1, 1, 2, 2), mode="circular")), 0),
    "windows as columns": (lambda m, x: F.unfold(x, (3, 2), padding=(1, 0), stride=2), 0),
    "columns summed up": (lambda m, x: F.fold(F.unfold(x, 3, stride=2, padding=1), (7, 9), 3, 1, 1, 2), 0),
    "nearest places": (lambda m, x: F.interpolate(x, (5, 18)) + F.interpolate(x, (5, 18), mode="nearest-exact"), 0),
    "nearest places three times": (lambda m, x: F.interpolate(x, scale_factor=(3.0, 1.0)), 0),
    "bilinear": (lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"), 0),
    "bilinear with corners": (lambda m, x: F.interpolate(x, (13, 11), mode="bilinear", align_corners=True), 0),
    "bilinear by a scale": (lambda m, x: F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear"), 0),
    "bilinear by a scale computed anew": (
        lambda m, x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
        0,
    ),
    "bicubic": (lambda m, x: F.interpolate(x, scale_factor=2, mode="bicubic"), 0),
    "smaller without aliases": (lambda m, x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True), 0),
    "by areas": (lambda m, x: F.interpolate(x, (4, 5), mode="area"), 0),
    "a sequence resized": (lambda m, x: F.interpolate(x.flatten(2), 40, mode="linear"), 0),
    "a volume resized": (lambda m, x: F.interpolate(x.view(2, 2, 3, 7, 9), (4, 8, 6), mode="trilinear"), 0),
    "resized and joined": (
        lambda m, x: m.stem(torch.cat([F.interpolate(x[:, :2], scale_factor=2), x[:, :1].repeat(1, 1, 2, 2)], 1)),
        0,
    ),
    "an uneven pool of one axis": (lambda m, x: F.adaptive_avg_pool1d(x.flatten(2), 10), 0),
    "an uneven maximum": (lambda m, x: F.adaptive_max_pool2d(x, 4), 1),
    "transposed convolutions": (
        lambda m, x: (
            F.conv_transpose2d(x, m.stem.weight[:, :, :2, :2], m.gate.bias[:3], stride=2)
            + F.conv_transpose2d(x, m.stem.weight, m.gate.bias[:3], 2, 1, 1)
        ),
        0,
    ),
    "a transposed convolution with rests": (
        lambda m, x: F.conv_transpose2d(x, m.stem.weight, stride=(3, 2), padding=(0, 1), output_padding=(1, 0)),
        0,
    ),
    "a transposed convolution that cuts": (lambda m, x: F.conv_transpose2d(x, m.stem.weight, None, 1, 2), 0),
    "a transposed convolution with gaps": (lambda m, x: F.conv_transpose2d(x, m.gate.weight, stride=3), 0),
    "transposed convolutions of groups": (
        lambda m, x: F.conv_transpose2d(x, m.stem.weight[:, :2], m.gate.bias[:4], 2, 1, 0, groups=2),
        0,
    ),
    "a dilated transposed convolution": (lambda m, x: F.conv_transpose2d(x, m.stem.weight, dilation=2), 1),
    "a transposed convolution of one axis": (
        lambda m, x: F.conv_transpose1d(x.flatten(2), m.stem.weight[:, :, 0], m.gate.bias[:3], stride=2, padding=1),
        0,
    ),
    "a transposed convolution and its norm": (
        lambda m, x: m.norm2d(F.conv_transpose2d(x, m.stem.weight[:, :2].repeat(1, 3, 1, 1)[..., :2], stride=2)).relu(),
        0,
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_function(name: str) -> None:
    function, host_calls = MAPS[name]
    compiled = compiled_of(Forward(function), (2, 3, 7, 9))
    hosts = [each.function.function for each in compiled.naive.operators if isinstance(each.function, Host)]
    assert len(hosts) == host_calls, hosts
    check_values(compiled, 2e-6, orders=1)
