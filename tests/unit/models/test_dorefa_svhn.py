"""The DoReFa-Net models for SVHN: the paper's layers at 40 x 40, its widths, its rule for the edges, any other size."""

import pytest
import torch
from torch import Tensor, nn

import models
from models.dorefa_svhn import DorefaSvhnArch
from models.quantized_layers import QuantConv2d
from models.quantizers import ActivationQuantizer


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(("variant", "share"), [("A", 1.0), ("B", 0.5), ("C", 0.25), ("D", 0.125)])
def test_channels_and_maps_are_the_papers(variant: str, share: float) -> None:
    network = models.build({"model": "dorefa_svhn", "variant": variant, "image_size_px": 40}, seed=0).eval()
    convolutions = _convolutions(network)
    assert [conv.out_channels for conv in convolutions] == [int(c * share) for c in (48, 64, 64, 128, 128, 128, 512)]
    assert [conv.kernel_size[0] for conv in convolutions] == [5, 3, 3, 3, 3, 3, 5]
    maps: list[int] = []
    for conv in convolutions:
        conv.register_forward_hook(lambda _, __, output: maps.append(output.shape[-1]))
    network(torch.rand(1, 3, 40, 40))
    assert maps == [36, 18, 18, 7, 7, 5, 1]


def test_model_a_has_the_parameters_of_its_layers() -> None:
    network = models.build(DorefaSvhnArch())
    weights = 48 * 75 + 64 * 48 * 9 + 64 * 64 * 9 + 128 * 64 * 9 + 2 * 128 * 128 * 9 + 512 * 128 * 25
    norms = 2 * (48 + 64 + 64 + 3 * 128 + 512)
    assert sum(p.numel() for p in network.parameters()) == weights + norms + 512 * 10 + 10


@pytest.mark.parametrize("size_px", [1, 8, 20, 21, 28, 32, 33, 48, 64])
def test_any_image_ends_in_at_least_one_place(size_px: int) -> None:
    network = models.build({"model": "dorefa_svhn", "variant": "D", "image_size_px": size_px}, seed=0).eval()
    assert network(torch.rand(2, 3, size_px, size_px)).shape == (2, 10)


def test_bits_are_where_the_paper_has_them() -> None:
    network = models.build(DorefaSvhnArch(variant="D", weight_bits=1, activation_bits=2, gradient_bits=4), seed=0)
    first, *inner = _convolutions(network)
    assert type(first) is nn.Conv2d
    assert type(network.classifier) is nn.Linear
    assert all(isinstance(conv, QuantConv2d) for conv in inner)
    assert {(conv.weight_quantizer.bits, conv.gradient_quantizer.bits) for conv in inner} == {(1, 4)}
    read: list[Tensor] = []
    for conv in inner:
        conv.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    network.eval()(torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0)))
    thirds = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])
    for tensor in read:
        assert torch.isclose(tensor[..., None], thirds).any(-1).all()
    full = models.build(DorefaSvhnArch(variant="D", weight_bits=32, activation_bits=32, gradient_bits=32))
    assert not any(isinstance(conv, QuantConv2d) for conv in _convolutions(full))
    assert {m.bits for m in full.modules() if isinstance(m, ActivationQuantizer)} == {32}


def test_a_resumed_training_sees_the_same_noise() -> None:
    arch = DorefaSvhnArch(variant="D", dropout=0.0)
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    first, second = models.build(arch, seed=1), models.build(arch, seed=1)
    first(images).sum().backward()
    second.load_state_dict(first.state_dict())
    gradients = []
    for network in (first, second):
        network.zero_grad()
        network.eval()(images).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
