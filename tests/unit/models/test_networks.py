"""svhn_net and searchable: the counts of the literature, the shapes of every stage, the checks of their values."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from models.quantized_layers import QuantConv2d, QuantLinear
from models.quantizers import ActivationQuantizer
from models.searchable import SearchableArch
from models.stage import Stage
from models.svhn_net import SvhnNetArch


def _multiply_adds(network: nn.Module, image: Tensor) -> int:
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module.weight, Tensor)
        total += module.weight[0].numel() * output[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network.eval()(image)
    return total


def test_svhn_net_has_the_multiply_adds_of_the_experiment() -> None:
    network = models.build(SvhnNetArch())
    assert _multiply_adds(network, torch.zeros(1, 3, 32, 32)) == 61_379_584
    convolutions = [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions == [96, 128, 128, 256]
    # Weights, two values per batch-normed channel, and the classifier's bias.
    weights = 96 * 27 + 128 * 96 * 9 + 128 * 128 * 9 + 256 * 128 * 9 + 512 * 4096 + 10 * 512
    assert sum(p.numel() for p in network.parameters()) == weights + 2 * (96 + 128 + 128 + 256 + 512) + 10


def test_svhn_net_pools_before_it_rectifies_with_the_same_values_and_gradients() -> None:
    network = models.build(SvhnNetArch(widths=(6, 8, 8, 10), fc_width=12), seed=3).double()
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = [parameter for name, parameter in network.named_parameters() if not name.startswith("classifier")]
    x = images
    for place in range(4):  # as the publication has it: convolution, batch norm, ReLU, pool
        kernel, scale, shift = weights[3 * place : 3 * place + 3]
        x = F.relu(F.batch_norm(F.conv2d(x, kernel, padding=1), None, None, scale, shift, training=True))
        x = x if place == 2 else F.max_pool2d(x, 2)
    kernel, scale, shift = weights[12:]
    x = F.relu(F.batch_norm(F.linear(x.flatten(1), kernel), None, None, scale, shift, training=True))
    expected = F.linear(x, network.classifier.weight, network.classifier.bias)
    logits = network.train()(images)
    assert torch.equal(logits, expected)
    found, wanted = (torch.autograd.grad(each.square().sum(), weights) for each in (logits, expected))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("size_px", "channels"), [(28, 1), (40, 3), (8, 2)])
def test_svhn_net_takes_any_image(size_px: int, channels: int) -> None:
    network = models.build(SvhnNetArch(widths=(4, 3, 5, 6), fc_width=7, image_size_px=size_px, in_channels=channels))
    assert network(torch.rand(2, channels, size_px, size_px)).shape == (2, 10)


@pytest.mark.parametrize(("name", "size_px"), [("alexnet", 7), ("googlenet", 4)])
def test_the_smallest_images_leave_something_of_every_pool(name: str, size_px: int) -> None:
    network = models.build({"model": name, "width": 0.1, "image_size_px": size_px}, 0).eval()
    assert network(torch.zeros(1, 3, size_px, size_px)).shape == (1, 10)


def test_searchable_stages_have_the_asked_shapes() -> None:
    arch = SearchableArch(
        stem_width=8,
        stages=(
            Stage(block="conv", depth=2, width=12, kernel=5, stride=1),
            Stage(block="mobile_v2", depth=3, width=16),
            Stage(block="shuffle_v2", depth=2, width=20, stride=2),
            Stage(block="shuffle_v2", depth=1, width=20, stride=1),
        ),
        head_width=24,
    )
    network = models.build(arch)
    x, shapes = network.stem(torch.rand(2, 3, 30, 30)), []
    for stage in network.stages:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(12, 30, 30), (16, 15, 15), (20, 8, 8), (20, 8, 8)]
    assert [len(stage) for stage in network.stages] == [2, 3, 2, 1]
    assert network.head(x).shape[1] == 24


def _mixed(**edges: int) -> SearchableArch:
    return SearchableArch(
        stem_width=8,
        stages=(
            Stage(block="mobile_v2", depth=2, width=8, weight_bits=8, activation_bits=8),
            Stage(block="shuffle_v2", depth=2, width=12, weight_bits=2, activation_bits=4),
            Stage(block="conv", depth=1, width=12, weight_bits=1, activation_bits=2),
        ),
        head_width=16,
        **edges,
    )


def test_an_integer_network_reads_grids_and_holds_integers_throughout() -> None:
    network = models.build(_mixed(edge_weight_bits=8, edge_activation_bits=8), seed=1)
    grids = [module for module in network.modules() if isinstance(module, ActivationQuantizer)]
    seen: list[tuple[nn.Module, Tensor]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert isinstance(module, QuantConv2d | QuantLinear)
            module.register_forward_pre_hook(lambda module, inputs: seen.append((module, inputs[0])))
    network(torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)) / 255)
    assert len(seen) > 15
    for module, tensor in seen:
        bits = {grid.bits for grid in grids if torch.equal(grid(tensor), tensor)}
        assert bits, f"{module} reads a tensor that no quantiser made"
    by_stage = [network.stages[i] for i in range(3)]
    for stage, bits in zip(by_stage, (8, 4, 2), strict=True):
        assert {m.bits for m in stage.modules() if isinstance(m, ActivationQuantizer)} == {bits}


def test_edges_keep_full_precision_by_default() -> None:
    network = models.build(_mixed())
    assert type(network.stem[0][0]) is nn.Conv2d
    assert type(network.classifier) is nn.Linear


def test_full_precision_has_no_quantisers() -> None:
    arch = SearchableArch(stages=tuple(Stage(block=b, depth=2, width=8) for b in ("conv", "mobile_v2", "shuffle_v2")))
    for network in (models.build(arch), models.build(SvhnNetArch())):
        assert not any(isinstance(m, ActivationQuantizer | QuantConv2d | QuantLinear) for m in network.modules())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block": "shuffle_v2", "width": 33}, "must be even"),
        ({"block": "conv", "width": 0}, "width must be at least 1"),
        ({"block": "conv", "width": 8, "kernel": 4}, "kernel must be odd"),
        ({"block": "conv", "width": 8, "weight_bits": 33}, "weight_bits must be 1 to 31, or 32"),
        ({"block": "conv", "width": 8, "stride": 3}, "stride must be 1 or 2"),
        ({"block": "shuffle_v1", "width": 12, "groups": 2}, "multiple of 4 groups, 8, got 12"),
        ({"block": "shuffle_v1", "width": 40, "groups": 5}, "groups must be one of"),
        ({"block": "shuffle_v2", "width": 8, "skip": True}, "skip of a shuffle_v2 stage must be left out"),
        ({"block": "mobile_v2", "width": 8, "factorised": True}, "factorised is for conv, residual, bottleneck"),
        ({"block": "convolution", "width": 8}, r"expected bottleneck, conv, .* or shuffle_v2, got 'convolution'"),
        ({"block": "mobile_v4", "width": 8}, r"block: expected .*did you mean 'mobile_v"),
        ({"block": "conv", "width": "wide"}, "Expected `int`"),
    ],
)
def test_a_bad_stage_is_refused_with_its_place(fields: dict[str, object], message: str) -> None:
    good = {"block": "conv", "depth": 1, "width": 8}
    with pytest.raises(ValueError, match=message) as caught:
        models.arch_from({"model": "searchable", "stages": [good, {"depth": 1, **fields}]})
    assert "stages[1]" in str(caught.value)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"model": "svhn_nets"}, "did you mean 'svhn_net'"),
        ({}, "expected a known network, got None"),
        ({"model": "svhn_net", "fc_widht": 3}, "did you mean 'fc_width'"),
        ({"model": "svhn_net", "image_size_px": 7}, "image_size_px must be at least 8"),
        ({"model": "alexnet", "image_size_px": 6}, "image_size_px must be at least 7"),
        ({"model": "googlenet", "image_size_px": 3}, "image_size_px must be at least 4"),
        (
            {"model": "resnet", "quantization": {"layers": [{"layer": "fc"}, {"layer": "fc", "weight_bits": 2}]}},
            "each layer once, got 'fc' 2 times",
        ),
        ({"model": "svhn_net", "widths": [1, 2, 3]}, "length 4"),
        ({"model": "svhn_net", "classes": 0}, "classes must be at least 1"),
        ({"model": "searchable", "stages": []}, "at least one stage"),
        ({"model": "searchable"}, "missing required field `stages`"),
    ],
)
def test_a_bad_description_is_refused(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.arch_from(mapping)


@pytest.mark.parametrize("text", ["", "[1]", "{", b"\xff\xfe", '{"model": 3}'])
def test_what_is_no_arch_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        models.arch_from_json(text)


OLD_ARCH = """{"model": "searchable", "in_channels": 1, "classes": 10, "image_size_px": 28, "stem_width": 8, "stages": [
  {"block": "conv", "depth": 1, "width": 16, "kernel": 3, "stride": 2, "expansion": 1, "weight_bits": 4, "activation_bits": 8},
  {"block": "shuffle_v2", "depth": 2, "width": 24, "kernel": 5, "stride": 2, "expansion": 1, "weight_bits": 2, "activation_bits": 4},
  {"block": "mobile_v2", "depth": 1, "width": 32, "kernel": 3, "stride": 2, "expansion": 3, "weight_bits": 8, "activation_bits": 4}],
  "head_width": 64, "edge_weight_bits": 8, "edge_activation_bits": 8}"""


def test_an_arch_from_before_the_other_kinds_is_the_same_network() -> None:
    network = models.build(models.arch_from_json(OLD_ARCH), seed=0)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if value.dim() > 1}
    assert shapes == {
        "stem.1.0.weight": (8, 1, 3, 3),
        "stages.0.0.0.weight": (16, 8, 3, 3),
        "stages.1.1.branch.0.0.weight": (12, 16, 1, 1),
        "stages.1.1.branch.1.weight": (12, 1, 5, 5),
        "stages.1.1.branch.4.0.weight": (12, 12, 1, 1),
        "stages.1.1.shortcut.0.weight": (16, 1, 5, 5),
        "stages.1.1.shortcut.3.0.weight": (12, 16, 1, 1),
        "stages.1.2.branch.0.0.weight": (12, 12, 1, 1),
        "stages.1.2.branch.1.weight": (12, 1, 5, 5),
        "stages.1.2.branch.4.0.weight": (12, 12, 1, 1),
        "stages.2.0.branch.0.0.weight": (72, 24, 1, 1),
        "stages.2.0.branch.1.0.weight": (72, 1, 3, 3),
        "stages.2.0.branch.2.weight": (32, 72, 1, 1),
        "head.0.0.weight": (64, 32, 1, 1),
        "classifier.weight": (10, 64),
    }


@pytest.mark.parametrize("bits", [8, 32])
def test_a_convolutional_classifier_is_the_mean_of_a_class_at_every_place(bits: int) -> None:
    stages = (Stage(block="conv", depth=1, width=8, activation_bits=bits),)
    edges = {"edge_weight_bits": bits, "edge_activation_bits": bits}
    network = models.build(SearchableArch(stages=stages, classifier="convolutional", **edges), seed=0).eval()
    assert not any(isinstance(module, nn.Linear) for module in network.modules())
    x = torch.rand(2, 3, 40, 24, generator=torch.Generator().manual_seed(0))  # any size, whatever the arch says
    places = network.classifier[0](network.pool(network.head(network.stages(network.stem(x)))))
    assert places.shape == (2, 10, 20, 12)
    torch.testing.assert_close(network(x), places.mean((2, 3)))


@pytest.mark.parametrize("size_px", [9, 16, 31])
def test_a_flat_classifier_reads_every_place(size_px: int) -> None:
    stages = tuple(Stage(block=block, depth=1, width=8) for block in ("residual", "mobile_v1", "shuffle_v1"))
    arch = SearchableArch(stages=stages, classifier="flat", image_size_px=size_px)
    network = models.build(arch, seed=0)
    assert network.classifier.in_features == 8 * arch.map_size_px**2
    assert network(torch.rand(2, 3, size_px, size_px)).shape == (2, 10)
