"""What every network of `models.MODELS` promises."""

from pathlib import Path

import msgspec
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import models
from models.alexnet import AlexNetArch
from models.arch import Arch, Quantization
from models.dorefa_svhn import DorefaSvhnArch
from models.fcn import FcnArch
from models.googlenet import GoogLeNetArch
from models.mobilenet_v1 import MobileNetV1Arch
from models.mobilenet_v2 import MobileNetV2Arch
from models.mobilenet_v3 import MobileNetV3Arch
from models.resnet import ResNetArch
from models.searchable import SearchableArch
from models.shufflenet_v1 import ShuffleNetV1Arch
from models.shufflenet_v2 import ShuffleNetV2Arch
from models.stage import Stage
from models.svhn_net import SvhnNetArch

_QUANTISED = {"weight_bits": 2, "activation_bits": 4}
_EDGES = {"edge_weight_bits": 8, "edge_activation_bits": 8}
_BLOCKS = ("conv", "mobile_v2", "shuffle_v2")


def _stage(block: str, **fields: object) -> Stage:
    return Stage(block=block, depth=2, width=8, **fields)  # type: ignore[arg-type]


_PX = 12  # deep networks on one core
_PLAN = Quantization(weight_bits=4, activation_bits=4, gradient_bits=6)

# At least one small example of every member of the list; a new member without one fails the first test.
EXAMPLES: dict[str, list[Arch]] = {
    "svhn_net": [
        SvhnNetArch(widths=(6, 8, 8, 10), fc_width=12),
        SvhnNetArch(widths=(6, 8, 8, 10), fc_width=12, gradient_bits=4, **_QUANTISED, **_EDGES),
    ],
    "searchable": [
        SearchableArch(stem_width=6, stages=tuple(_stage(block) for block in _BLOCKS)),
        SearchableArch(
            stem_width=6, stages=tuple(_stage(b, **_QUANTISED) for b in reversed(_BLOCKS)), head_width=8, **_EDGES
        ),
        SearchableArch(
            stem_width=8,
            stages=(_stage("conv", stride=1, skip=True, factorised=True), _stage("residual"), _stage("bottleneck")),
            classifier="convolutional",
        ),
        SearchableArch(
            stem_width=8,
            stages=(
                _stage("mobile_v1", stride=1),
                _stage("mobile_v3", expansion=2),
                _stage("shuffle_v1", gradient_bits=6),
            ),
            classifier="flat",
        ),
    ],
    "dorefa_svhn": [
        DorefaSvhnArch(image_size_px=20, variant="D", dropout=0.0),
        DorefaSvhnArch(image_size_px=20, variant="D", dropout=0.0, weight_bits=8, activation_bits=8, gradient_bits=8),
    ],
    "mobilenet_v1": [
        MobileNetV1Arch(image_size_px=_PX, width=0.2),
        MobileNetV1Arch(image_size_px=_PX, width=0.2, quantization=_PLAN),
    ],
    "mobilenet_v2": [MobileNetV2Arch(image_size_px=_PX, width=0.2, dropout=0.0)],
    "mobilenet_v3": [
        MobileNetV3Arch(image_size_px=_PX, width=0.25, dropout=0.0),
        MobileNetV3Arch(image_size_px=_PX, variant="large", width=0.2, dropout=0.0),
    ],
    "shufflenet_v1": [
        ShuffleNetV1Arch(image_size_px=_PX, width=0.25),
        ShuffleNetV1Arch(image_size_px=_PX, groups=8, width=0.25, quantization=_PLAN),
    ],
    "shufflenet_v2": [ShuffleNetV2Arch(image_size_px=_PX, width=0.2)],
    "resnet": [ResNetArch(image_size_px=_PX, width=0.1), ResNetArch(image_size_px=_PX, width=0.1, quantization=_PLAN)],
    "googlenet": [GoogLeNetArch(image_size_px=_PX, width=0.1, dropout=0.0)],
    "alexnet": [AlexNetArch(width=0.1, dropout=0.0)],
    "fcn": [FcnArch(image_size_px=_PX, width=0.1)],
}
# The quick tests take the first example of a deep network, the slow ones them all.
_SHALLOW = ("svhn_net", "searchable", "dorefa_svhn")
CASES = [
    pytest.param(arch, id=f"{name}-{i}", marks=pytest.mark.slow if i and name not in _SHALLOW else ())
    for name, archs in EXAMPLES.items()
    for i, arch in enumerate(archs)
]


def test_every_member_has_an_example() -> None:
    assert set(EXAMPLES) == set(models.MODELS)
    for name, kind in models.MODELS.items():
        assert kind.__struct_config__.tag == name
        assert all(type(arch) is kind for arch in EXAMPLES[name])


@pytest.mark.parametrize("arch", CASES)
def test_goes_to_json_and_back(arch: Arch) -> None:
    assert models.arch_from_json(models.arch_to_json(arch)) == arch
    assert models.arch_from(msgspec.to_builtins(arch)) == arch
    assert hash(models.arch_from_json(models.arch_to_json(arch))) == hash(arch)


@pytest.mark.parametrize(("channels", "size_px"), [(1, 20), (3, 32)])
@pytest.mark.parametrize("arch", CASES)
def test_forward_and_backward_at_any_size(arch: Arch, channels: int, size_px: int) -> None:
    arch = msgspec.structs.replace(arch, in_channels=channels, image_size_px=size_px, classes=7)
    network = models.build(arch, seed=0)
    logits = network(torch.rand(4, channels, size_px, size_px, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("arch", CASES)
def test_a_seed_gives_the_same_weights_and_touches_no_global_state(arch: Arch) -> None:
    before = torch.get_rng_state()
    first, second, other = (models.build(arch, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert models.build(msgspec.to_builtins(arch)).arch == arch


@pytest.mark.parametrize("arch", CASES)
def test_learns_and_is_deterministic_in_eval(arch: Arch) -> None:
    network = models.build(arch, seed=1)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(32, arch.in_channels, arch.image_size_px, arch.image_size_px, generator=generator)
    labels = torch.randint(0, arch.classes, (32,), generator=generator)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(16):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.95 * losses[0]
    # float64: another order of summation must not carry a value over the edge of a quantiser's step.
    network, images = network.eval().double(), images.double()
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        # An image's logits are its own, whoever shares its batch.
        torch.testing.assert_close(network(images[:3]), network(images)[:3], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", CASES)
def test_a_state_dict_loads_into_a_fresh_network(arch: Arch) -> None:
    trained, fresh = models.build(arch, seed=1), models.build(arch, seed=2)
    images = torch.rand(8, arch.in_channels, arch.image_size_px, arch.image_size_px)
    trained(images)  # moves the running statistics of the batch norms
    fresh.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert torch.equal(trained.eval()(images), fresh.eval()(images))


CHOICES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))


def test_every_member_is_a_choice() -> None:
    assert sorted(models.MODELS) == CHOICES


@pytest.mark.parametrize("name", CHOICES)
def test_the_choice_takes_small_images(name: str) -> None:
    path = Path(__file__).parents[2] / "conf" / "model" / f"{name}.yaml"
    description = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(description, dict)
    known = {field.encode_name for field in msgspec.structs.fields(models.MODELS[name])}
    from_data = {"in_channels", "classes", "image_size_px"}
    assert set(description) | from_data | {"quantization"} == known | {"model"}, "every field is in the file"
    arch = models.fitted(models.arch_from(description), in_channels=1, classes=7, image_size_px=32)
    with torch.no_grad():
        assert models.build(arch, seed=0).eval()(torch.rand(2, 1, 32, 32)).shape == (2, 7)
