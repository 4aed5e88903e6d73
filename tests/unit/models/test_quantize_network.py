"""`quantize` on whole networks: which layers it takes, what they read, and that nothing else changes."""

import copy

import msgspec
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import models
from models.bits import Bits
from models.quantize import layer_names, quantize
from models.quantized_layers import QuantConv2d, QuantLinear
from models.quantizers import ActivationQuantizer

SMALL: dict[str, dict[str, object]] = {
    "svhn_net": {"widths": [6, 8, 8, 10], "fc_width": 12},
    "searchable": {
        "stages": [{"block": "mobile_v3", "depth": 2, "width": 8}, {"block": "residual", "depth": 1, "width": 8}]
    },
    "mobilenet_v1": {"width": 0.25},
    "mobilenet_v2": {"width": 0.2},
    "mobilenet_v3": {"width": 0.25},
    "shufflenet_v1": {"width": 0.25},
    "shufflenet_v2": {"width": 0.2},
    "resnet": {"width": 0.1},
    "googlenet": {"width": 0.1},
    "alexnet": {"width": 0.1},
    "fcn": {"width": 0.1},
}


def _small(name: str, **fields: object) -> nn.Module:
    return models.build({"model": name, **SMALL[name], **fields}, seed=0)


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def test_every_network_is_here() -> None:
    assert set(SMALL) == set(models.MODELS) - {"dorefa_svhn"}, "dorefa_svhn is quantised by itself"


@pytest.mark.parametrize("name", SMALL)
def test_all_but_the_first_and_the_last_layer_are_quantised_and_read_few_values(name: str) -> None:
    network = _small(name)
    before, state = _layers(network), copy.deepcopy(network.state_dict())
    order = layer_names(network)
    assert set(order) == set(before)
    assert quantize(network, weight_bits=2, activation_bits=3) is network
    after = _layers(network)
    kept = {layer for layer in order if not isinstance(after[layer], QuantConv2d | QuantLinear)}
    assert kept == {order[0], order[-1]}
    assert set(network.state_dict()) == set(state), "a float checkpoint still loads"
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())
    seen: dict[str, Tensor] = {}
    for layer in order[1:-1]:
        quantizer = after[layer].input_quantizer
        assert isinstance(quantizer, ActivationQuantizer)
        quantizer.register_forward_hook(lambda _, __, output, layer=layer: seen.setdefault(layer, output))
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    logits = network(images)
    logits.square().sum().backward()
    assert torch.isfinite(logits).all()
    assert all(len(read.unique()) <= 8 for read in seen.values())
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v3"])
def test_gradients_are_quantised_behind_layers_whose_activation_works_in_place(name: str) -> None:
    network = quantize(_small(name), gradient_bits=4)
    network(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert all(
        layer.gradient_quantizer.draws == 1
        for layer in _layers(network).values()
        if hasattr(layer, "gradient_quantizer")
    )


def test_signed_tensors_get_signed_grids_and_images_the_unit_range() -> None:
    network = quantize(_small("mobilenet_v2"), 4, 4, skip=())
    quantizers = {name: layer.input_quantizer for name, layer in _layers(network).items()}
    assert (quantizers["features.0.0"].low, quantizers["features.0.0"].high) == (0.0, 1.0)
    # The widening convolution reads a linear bottleneck, the depthwise one behind it a ReLU6.
    assert quantizers["features.3.conv.0.0"].low < 0
    assert quantizers["features.3.conv.1.0"].low == 0
    assert all(isinstance(layer, QuantConv2d | QuantLinear) for layer in _layers(network).values())


def test_single_layers_have_bits_of_their_own() -> None:
    network = quantize(
        _small("resnet"), 2, 2, skip=("layer1.0.conv1",), layers={"fc": Bits(8, 8), "conv1": Bits(weight=8)}
    )
    layers = _layers(network)
    assert type(layers["layer1.0.conv1"]) is nn.Conv2d
    assert (layers["fc"].weight_quantizer.bits, layers["fc"].input_quantizer.bits) == (8, 8)
    assert (layers["conv1"].weight_quantizer.bits, layers["conv1"].input_quantizer) == (8, None)
    assert layers["layer1.0.conv2"].weight_quantizer.bits == 2


def test_a_layer_that_is_not_there_is_refused_with_the_near_name() -> None:
    for wrong in ({"skip": ("layer1.0.conv_1",)}, {"layers": {"layer1.0.conv_1": Bits(1)}}):
        with pytest.raises(ValueError, match=r"got 'layer1.0.conv_1' \(did you mean 'layer1.0.conv1'"):
            quantize(_small("resnet"), 2, 2, **wrong)
    with pytest.raises(ValueError, match="weight_bits must be 1 to 31"):
        quantize(_small("resnet"), 0)
    with pytest.raises(ValueError, match="quantised already"):
        quantize(quantize(_small("resnet"), 2), 2)
    with pytest.raises(ValueError, match="image_shape"):
        quantize(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)), 2)


def test_a_layer_of_several_names_stays_one_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(16, 2))
    network.insert(2, network[1])
    quantize(network, 2, image_shape=(3, 2, 2))
    assert isinstance(network[1], QuantConv2d)
    assert network[2] is network[1]


def test_a_network_with_a_layer_that_cannot_be_quantised_stays_as_it_is() -> None:
    network = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(4)))
    weight_norm(network[2])
    with pytest.raises(ValueError, match="2: expected a layer that holds its weight"):
        quantize(network, 2, image_shape=(3, 2, 2))
    assert not any(isinstance(layer, QuantConv2d) for layer in network)


def test_a_description_quantises_any_network_also_without_numbers() -> None:
    plan = {"weight_bits": 1, "activation_bits": 2, "gradient_bits": 4, "layers": [{"layer": "fc", "weight_bits": 8}]}
    arch = models.arch_from({"model": "resnet", "width": 0.1, "quantization": plan})
    assert models.arch_from_json(models.arch_to_json(arch)) == arch
    network = models.build(arch, seed=0)
    with torch.device("meta"):
        shapes = models.build(arch)
    assert str(network) == str(shapes), "what a layer reads does not hang on the weights"
    assert network.fc.weight_quantizer.bits == 8
    conv = network.layer2[0].conv1
    assert (conv.weight_quantizer.bits, conv.input_quantizer.bits, conv.gradient_quantizer.bits) == (1, 2, 4)
    seeds = [
        layer.gradient_quantizer.seed
        for layer in _layers(network).values()
        if getattr(layer, "gradient_quantizer", None)
    ]
    assert len(set(seeds)) == len(seeds), "each layer has noise of its own"
    again = models.build(arch, seed=0)
    assert again.layer2[0].conv1.gradient_quantizer.seed == conv.gradient_quantizer.seed
    plain = msgspec.structs.replace(arch, quantization=None)
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), models.build(plain, seed=0).parameters(), strict=True)
    )


def test_quantize_leaves_torchs_generator_alone_without_gradient_bits() -> None:
    network = _small("mobilenet_v3")
    before = torch.get_rng_state()
    quantize(network, 4, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_backward_both_convolutions_read_the_quantised_gradient() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(3, 4, 1, bias=False), nn.Flatten(), nn.Linear(64, 5)
    )
    quantize(network, gradient_bits=2, image_shape=(2, 4, 4))
    conv = network[1]
    read: list[Tensor] = []
    hidden = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    sums = torch.nn.functional.conv2d(hidden, conv.weight)
    sums.register_hook(read.append)
    upstream = torch.randn(sums.shape, generator=torch.Generator().manual_seed(2))
    conv.gradient_quantizer(sums).backward(upstream)
    largest = upstream.abs().amax((1, 2, 3), keepdim=True)
    steps = (read[0] / (2 * largest) + 0.5) * 3
    torch.testing.assert_close(steps, steps.round(), atol=1e-5, rtol=0)
    assert conv.weight.grad is not None
    expected = torch.einsum("nohw,nihw->oi", read[0], hidden.detach())
    torch.testing.assert_close(conv.weight.grad[:, :, 0, 0], expected)


def test_layers_keep_their_hooks() -> None:
    """What a hook makes of a layer's inputs and outputs is part of the network."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval()
    seen: list[tuple[int, ...]] = []
    network[2].register_forward_hook(lambda layer, inputs, output: 3.0 * output)
    network[2].register_forward_pre_hook(lambda layer, inputs: (0.5 * inputs[0],))
    network[4].register_full_backward_hook(lambda layer, of_inputs, of_outputs: seen.append(of_outputs[0].shape))
    watch = network[4].register_forward_hook(lambda layer, inputs, output: seen.append(output.shape))
    images = torch.rand(5, 3, 8, 8)
    expected = network(images)
    quantize(network, weight_bits=8, activation_bits=8, skip=[], image_shape=(3, 8, 8))
    seen.clear()
    images.requires_grad_()
    found = network(images)
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()
    found.sum().backward()
    assert seen == [(5, 2), (5, 2)]
    watch.remove()
    network(images)
    assert len(seen) == 2


class Standardised(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)


class SameAsThere(nn.Conv2d):
    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return super()._conv_forward(nn.functional.pad(input, (0, 2, 0, 2)), weight, bias)


class Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2.0 * super().forward(input)


@pytest.mark.parametrize("layer", [Standardised(4, 4, 1), SameAsThere(4, 4, 3), Doubled(8, 8)])
def test_a_layer_with_a_forward_of_its_own_is_refused_by_name(layer: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), layer, nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    with pytest.raises(ValueError, match=rf"2: expected a plain .*, got a {type(layer).__name__} with a forward"):
        quantize(network, weight_bits=8, image_shape=(3, 8, 8))
    quantize(network, weight_bits=8, skip=["0", "2"], image_shape=(3, 8, 8))
    assert network[2] is layer
