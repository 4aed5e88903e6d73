"""Forwards as people write them: into piles of zeros, with hooks, masks, states and numbers of other kinds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d, roi_align

from nas.compiler.driver import compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.precision import Precision
from nas.core.errors import InputError
from tests.differential.test_compiler_against_torch import EDGE_NPU, check_values, compiled_of
from tests.differential.test_precision import INT8, cosine, results

SHAPE = (2, 3, 8, 8)


class Two(nn.Module):
    """A convolution, a function, and what this needs."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
            for name, part in parts.items():
                setattr(self, name, part() if callable(part) and not isinstance(part, nn.Module) else part)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.first(x))


def added(m: Two, x: Tensor) -> Tensor:
    pile = torch.zeros_like(x)
    pile.add_(x)
    return m.second(x + pile)


def rectified(m: Two, x: Tensor) -> Tensor:
    pile = torch.zeros_like(x)
    pile[:, :4] = x[:, :4]
    pile.relu_()
    return m.second(pile)


def one_hot(m: Two, x: Tensor) -> Tensor:
    pile = torch.zeros_like(x)
    pile.scatter_(1, x.argmax(1, keepdim=True), 1.0)
    return pile * x


def given_out(m: Two, x: Tensor) -> Tensor:
    pile = torch.zeros_like(x)
    torch.mul(x, 2.0, out=pile)
    return m.second(pile)


def shifted_in_time(m: Two, x: Tensor) -> Tensor:
    pile = torch.zeros_like(x)
    pile[:, :2, :-1] = x[:, :2, 1:]
    pile[:, 2:] = x[:, 2:]
    return m.second(pile).mean((2, 3))


def hooked(m: Two, x: Tensor) -> Tensor:
    tokens = x.flatten(2).mT
    return m.attention(tokens, tokens, tokens)[0]


def attention_with_a_hook() -> nn.Module:
    made = nn.MultiheadAttention(8, 2, batch_first=True)
    made.register_forward_hook(lambda module, given, result: (result[0] * 2, result[1]))
    return made


def attention_whose_last_layer_has_a_hook() -> nn.Module:
    made = nn.MultiheadAttention(8, 2, batch_first=True)
    made.out_proj.register_forward_hook(lambda module, given, result: result * 2)  # which torch never calls
    return made


def looking_at_nothing(m: Two, x: Tensor) -> Tensor:
    tokens = x.flatten(2).mT
    mask = torch.ones(64, 64, dtype=torch.bool)
    mask[2] = False
    return F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=True)


def masked(m: Two, x: Tensor) -> Tensor:
    return m.encoder(x.flatten(2).mT, src_key_padding_mask=torch.arange(64).expand(2, 64) > 50)


def deformed(m: Two, x: Tensor) -> Tensor:
    return deform_conv2d(x, torch.tanh(m.moves(x)), m.second.weight, padding=1, mask=torch.sigmoid(m.gates(x)))


def cut_out(m: Two, x: Tensor) -> Tensor:
    return roi_align(x, [m.boxes] * x.shape[0], output_size=3, sampling_ratio=2)


FORWARDS: dict[str, Two] = {
    "added to zeros": Two(added),
    "an activation in place of a pile": Two(rectified),
    "one-hot": Two(one_hot),
    "out": Two(given_out),
    "shifted": Two(shifted_in_time),
    "a hook": Two(hooked, attention=attention_with_a_hook),
    "a hook of a part": Two(hooked, attention=attention_whose_last_layer_has_a_hook),
    "a query that may look at nothing": Two(looking_at_nothing),
    "a number for each image": Two(lambda m, x: m.second(x).mean((1, 2, 3))),
    "the largest of each image": Two(lambda m, x: x.amax((1, 2, 3))),
    "a padding mask": Two(masked, encoder=encoder),
    "a state of zeros": Two(
        lambda m, x: m.gru(x.flatten(2).mT, torch.zeros(1, x.shape[0], 5))[0],
        gru=lambda: nn.GRU(8, 5, batch_first=True),
    ),
    "float32 by name": Two(lambda m, x: F.layer_norm(x.float(), (8,), m.scale), scale=nn.Parameter(torch.ones(8))),
    "to a device": Two(lambda m, x: m.second(x.to(m.second.weight.device))),
    "a constant mask": Two(lambda m, x: x[:, m.keep], keep=nn.Buffer(torch.arange(8) % 3 > 0)),
    "a constant place": Two(lambda m, x: x[:, torch.tensor(2)]),
    "constant repeats": Two(lambda m, x: x.repeat_interleave(torch.tensor([1, 2, 1, 1, 3, 1, 0, 1]), 1)),
    "a number of numpy": Two(lambda m, x: x * np.float32(2)),
    "a deformable convolution": Two(
        deformed, moves=lambda: nn.Conv2d(8, 18, 3, padding=1), gates=lambda: nn.Conv2d(8, 9, 1)
    ),
    "regions of interest": Two(cut_out, boxes=nn.Buffer(torch.tensor([[0.0, 1.0, 5.0, 7.0], [2.0, 0.0, 8.0, 4.0]]))),
    "joined with nothing": Two(lambda m, x: torch.cat([x, x[:, :0]], 1)),
}


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor")
def test_programs_compute_what_torch_does(name: str) -> None:
    check_values(compiled_of(FORWARDS[name], SHAPE), 3e-6, orders=1)


def test_numbers_of_two_bytes_are_as_exact_as_they_are() -> None:
    module = Two(lambda m, x: m.short(x.half()).float(), short=lambda: nn.Conv2d(8, 8, 3).half())
    check_values(compiled_of(module, SHAPE), 1e-3, orders=1)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x - x.amax(1, keepdim=True),
        lambda m, x: x.log_softmax(1),
        lambda m, x: x - x.mean(1, keepdim=True),
        rectified,
    ],
)
def test_ranges_in_int8_are_those_of_the_numbers_that_are_coded(function: Any) -> None:
    """Of numbers before a view, and of tensors that were written to in place, too."""
    ours, theirs, _ = results(Two(function), SHAPE, INT8)
    assert cosine(ours, theirs) > 0.99


class Lora(nn.Module):
    """Adds its difference for good in evaluation, and takes it away again in training, as libraries of these do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.difference = (nn.Parameter(torch.eye(8) * scale) for scale in (1.0, 0.5))
        self.is_merged = False

    def train(self, mode: bool = True) -> "Lora":
        super().train(mode)
        if mode == self.is_merged:
            self.weight.data += self.difference.data * (-1.0 if mode else 1.0)
            self.is_merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight if self.is_merged else self.weight + self.difference)


def test_a_module_is_what_it_was_whatever_its_forward_does() -> None:
    def counting(m: Any, x: Tensor) -> Tensor:
        m.count += 1
        m.mean.mul_(0.9).add_(x.mean(0))
        m.latest = m.mean
        return x * m.count - m.mean

    module = Two(
        counting, count=nn.Buffer(torch.zeros(1)), mean=nn.Buffer(torch.zeros(8, 8, 8)), latest=nn.Buffer(torch.ones(2))
    )
    buffers = dict(module.named_buffers())
    numbers = {name: buffer.clone() for name, buffer in buffers.items()}
    batch = torch.rand(SHAPE)
    before = batch.clone()
    for precision in (Precision("float"), Precision("int8", [batch])):
        compile_network(nn.Sequential(nn.ReLU(inplace=True), module), SHAPE, EDGE_NPU, precision=precision)
        assert all(buffer is buffers[name] for name, buffer in module.named_buffers())
        assert all(torch.equal(buffer, numbers[name]) for name, buffer in module.named_buffers())
    assert torch.equal(batch, before)
    lora = nn.Sequential(Lora(), nn.Sequential(nn.ReLU().eval())).train()
    lora[1][0].eval()
    network_of(lora, ((2, 8),))
    assert [each.training for each in lora.modules()] == [True, True, True, False]
    assert not lora[0].is_merged
    assert torch.equal(lora[0].weight, torch.eye(8))


def stale_view(m: Two, x: Tensor) -> Tensor:
    pile = torch.zeros_like(x)
    view = pile.flatten(1)
    pile[:, :4] = x[:, :4]
    return view + 1.0


def into_a_view(m: Two, x: Tensor) -> Tensor:
    pile = torch.zeros_like(x)
    pile[:, 1:3].add_(x[:, :2])
    return pile * 2


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Two(stale_view), "changed in place"),
        (Two(into_a_view), "changed in place"),
        (Two(lambda m, x: m.inner(x) + x, inner=lambda: torch.jit.script(nn.ReLU())), "inner: .*TorchScript"),
        (Two(lambda m, x: x[:, :0]), "tensors that have elements"),
    ],
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_what_cannot_be_followed_is_refused_by_name(module: Two, told: str) -> None:
    with pytest.raises(InputError, match=told):
        network_of(module, (SHAPE,))


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"input: .*elements"):
        network_of(nn.ReLU(), ((0, 3, 4, 4),))
