"""torchvision's weights load into our networks unchanged and give torchvision's outputs; small images follow one rule."""

import pytest
import torch
import torchvision
from torch import nn

import models
from tests.networks import draw_statistics

# (our description, torchvision's name, its options, image size)
PAIRS: list[tuple[dict[str, object], str, dict[str, object], int]] = [
    ({"model": "mobilenet_v2"}, "mobilenet_v2", {}, 96),
    ({"model": "mobilenet_v2", "width": 0.35}, "mobilenet_v2", {"width_mult": 0.35}, 64),
    ({"model": "mobilenet_v3", "variant": "large"}, "mobilenet_v3_large", {}, 80),
    ({"model": "mobilenet_v3", "variant": "small"}, "mobilenet_v3_small", {}, 65),
    ({"model": "mobilenet_v3", "width": 0.6, "scaling": "torchvision"}, "mobilenet_v3_small", {"width_mult": 0.6}, 64),
    ({"model": "shufflenet_v2", "width": 0.5}, "shufflenet_v2_x0_5", {}, 96),
    ({"model": "shufflenet_v2", "width": 1.5}, "shufflenet_v2_x1_5", {}, 70),
    ({"model": "resnet", "depth": 18}, "resnet18", {}, 64),
    ({"model": "resnet", "depth": 34}, "resnet34", {}, 64),
    ({"model": "resnet", "depth": 50}, "resnet50", {}, 65),
    ({"model": "googlenet"}, "googlenet", {"aux_logits": False, "init_weights": False}, 80),
    ({"model": "alexnet"}, "alexnet", {}, 100),
    (
        {"model": "fcn", "depth": 50, "dilated": True, "output": "places"},
        "fcn_resnet50",
        {"weights_backbone": None, "aux_loss": None},
        64,
    ),
]


@pytest.mark.parametrize(("description", "name", "options", "size_px"), PAIRS, ids=lambda value: str(value)[:50])
def test_weights_and_outputs_are_torchvisions(
    description: dict[str, object], name: str, options: dict[str, object], size_px: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        theirs = torchvision.models.get_model(name, weights=None, num_classes=7, **options)
    draw_statistics(theirs, torch.Generator().manual_seed(2))
    ours = models.build({**description, "classes": 7, "image_size_px": size_px}, seed=3)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.rand(2, 3, size_px, size_px + 3, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        expected = theirs.eval()(image)
        got = ours.eval()(image)
    torch.testing.assert_close(got, expected["out"] if isinstance(expected, dict) else expected)


SMALL = [
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "shufflenet_v1",
    "shufflenet_v2",
    "resnet",
    "googlenet",
    "alexnet",
    "fcn",
]


@pytest.mark.parametrize("name", SMALL)
def test_small_images_keep_their_size_through_the_stem(name: str) -> None:
    small, large = (models.build({"model": name, "width": 0.25, "image_size_px": px}, seed=0) for px in (63, 64))
    first, second = [module for module in small.modules() if isinstance(module, nn.Conv2d)][:2]
    sizes: list[tuple[int, ...]] = []
    first.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[-2:])))
    second.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    small.eval()(torch.zeros(1, 3, 63, 63))
    assert sizes == [(63, 63), (63, 63)], "no stride, and no pool behind it"
    assert next(module for module in large.modules() if isinstance(module, nn.Conv2d)).stride in ((2, 2), (4, 4))
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (small, large)]
    assert shapes[0] == shapes[1], "weights of one image size load at any other"


def test_an_fcn_gives_the_mean_of_its_places_for_an_image() -> None:
    places = models.build({"model": "fcn", "width": 0.25, "output": "places"}, seed=0).eval()
    image = models.build({"model": "fcn", "width": 0.25}, seed=0).eval()
    x = torch.rand(2, 3, 40, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert places(x).shape == (2, 10, 40, 24)
        torch.testing.assert_close(image(x), image.classifier(image.backbone(x)).mean((2, 3)))
