"""Networks keep the layout that they are given: a layer that leaves channels last makes all that follow convert."""

import pytest
import torch
from torch import nn

import models
from models.blocks.shuffle import ChannelShuffle, ShuffledConcat


@pytest.mark.parametrize("name", ["shufflenet_v1", "shufflenet_v2", "mobilenet_v2", "mobilenet_v3"])
def test_maps_and_gradients_stay_channels_last(name: str) -> None:
    network = models.build(models.fitted(models.arch_from({"model": name, "width": 0.5}), 3, 10, 32), seed=0).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    left: list[str] = []

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        def see(tensor: torch.Tensor, place: str) -> None:
            if not tensor.is_contiguous(memory_format=torch.channels_last):
                left.append(f"{place} of {type(module).__name__}")

        see(output, "output")
        output.register_hook(lambda gradient: see(gradient, "gradient"))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(look)
    network(torch.rand(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)).square().sum().backward()
    assert not left


@pytest.mark.parametrize("name", ["shufflenet_v1", "shufflenet_v2"])
def test_the_layout_changes_no_value(name: str) -> None:
    network = models.build(models.fitted(models.arch_from({"model": name, "width": 0.5}), 3, 10, 32), seed=0).eval()
    images = torch.rand(2, 3, 32, 32)
    expected = network(images)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(network(images.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("groups", [2, 3])
def test_a_shuffles_gradient_is_torchs_and_lies_as_its_input_does(groups: int) -> None:
    layout = torch.channels_last
    x = torch.randn(2, 12, 3, 5).contiguous(memory_format=layout).requires_grad_()
    weights = torch.randn(2, 12, 3, 5)
    expected = torch.autograd.grad((nn.functional.channel_shuffle(x, groups) * weights).sum(), x)[0]
    found = torch.autograd.grad((ChannelShuffle(groups)(x) * weights).sum(), x)[0]
    assert torch.equal(found, expected)
    parts = [part.detach().requires_grad_() for part in x.detach().chunk(2, 1)]
    for part, gradient in zip(parts, torch.autograd.grad(ShuffledConcat()(*parts).sum(), parts), strict=True):
        assert gradient.shape == part.shape
        assert gradient.is_contiguous(memory_format=layout)
