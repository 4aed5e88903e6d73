"""The networks of the literature at 224 x 224 and 1000 classes: parameters and multiply-adds, to the integer.

The counts are of convolutions and linear layers, one multiply-add is 1. Nothing is computed: the meta device has shapes only.
"""

import pytest
import torch
from torch import Tensor, nn

import models


def _counts(description: dict[str, object]) -> tuple[int, int]:
    """(parameters, multiply-adds)."""
    with torch.device("meta"):
        network = models.build({**description, "classes": 1000, "image_size_px": 224}).eval()
        image = torch.empty(1, 3, 224, 224)
    multiply_adds = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal multiply_adds
        assert isinstance(layer.weight, Tensor)
        multiply_adds += layer.weight[0].numel() * output[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(image)
    return sum(parameter.numel() for parameter in network.parameters()), multiply_adds


# groups: {width: (parameters, millions of multiply-adds)}
SHUFFLENET_V1 = {
    1: {1.0: (1531936, 143.08), 0.5: (534484, 38.52), 1.5: (2993032, 308.10), 2.0: (4918744, 550.33), 0.25: (209908, 13.16)},
    2: {1.0: (1733848, 140.84), 0.5: (678520, 40.91), 1.5: (3342000, 308.99), 2.0: (5257896, 539.14), 0.25: (305824, 15.47)},
    3: {1.0: (1865728, 137.46), 0.5: (718324, 37.59), 1.5: (3442168, 292.44), 2.0: (5450776, 524.05), 0.25: (306124, 13.30)},
    4: {1.0: (1968344, 134.34), 0.5: (835984, 40.71), 1.5: (3679712, 295.09), 2.0: (5593528, 510.29), 0.25: (407744, 16.40)},
    8: {1.0: (2434768, 138.37), 0.5: (1011448, 40.47), 1.5: (4269952, 290.19), 2.0: (6522232, 521.94), 0.25: (455272, 19.01)},
}  # fmt: skip
OTHERS: list[tuple[dict[str, object], int, float]] = [
    ({"model": "shufflenet_v2", "width": 0.5}, 1_366_792, 40.48),
    ({"model": "shufflenet_v2", "width": 1}, 2_278_604, 144.91),
    ({"model": "shufflenet_v2", "width": 1.5}, 3_503_624, 295.76),
    ({"model": "shufflenet_v2", "width": 2}, 7_393_996, 583.25),
    ({"model": "mobilenet_v1", "width": 1}, 4_231_976, 568.74),
    ({"model": "mobilenet_v1", "width": 0.75}, 2_585_560, 325.40),
    ({"model": "mobilenet_v1", "width": 0.5}, 1_331_592, 149.50),
    ({"model": "mobilenet_v1", "width": 0.25}, 470_072, 41.03),
    ({"model": "mobilenet_v2", "width": 1}, 3_504_872, 300.77),
    ({"model": "mobilenet_v2", "width": 1.4}, 6_108_776, 582.20),
    ({"model": "mobilenet_v3", "variant": "large", "width": 1}, 5_483_032, 216.59),
    ({"model": "mobilenet_v3", "variant": "large", "width": 0.75}, 3_993_528, 154.56),
    ({"model": "mobilenet_v3", "variant": "small", "width": 1}, 2_542_856, 56.51),
    ({"model": "mobilenet_v3", "variant": "small", "width": 0.75}, 2_041_872, 43.40),
    ({"model": "resnet", "depth": 18}, 11_689_512, 1814.07),
    ({"model": "resnet", "depth": 34}, 21_797_672, 3663.76),
    ({"model": "resnet", "depth": 50}, 25_557_032, 4089.18),
    ({"model": "googlenet"}, 6_624_904, 1498.38),
    ({"model": "alexnet"}, 61_100_840, 714.19),
]


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("groups", SHUFFLENET_V1)
def test_shufflenet_v1(groups: int, width: float) -> None:
    parameters, multiply_adds = _counts({"model": "shufflenet_v1", "groups": groups, "width": width})
    assert (parameters, round(multiply_adds / 1e6, 2)) == SHUFFLENET_V1[groups][width]


@pytest.mark.parametrize(("description", "parameters", "millions"), OTHERS, ids=lambda value: str(value)[:60])
def test_the_others(description: dict[str, object], parameters: int, millions: float) -> None:
    counted, multiply_adds = _counts(description)
    assert (counted, round(multiply_adds / 1e6, 2)) == (parameters, millions)


@pytest.mark.parametrize("width", [0.1, 1.3])
@pytest.mark.parametrize(
    "name", ["shufflenet_v1", "shufflenet_v2", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "resnet", "fcn"]
)
def test_any_width_builds_and_wider_is_larger(name: str, width: float) -> None:
    narrow, wide = (_counts({"model": name, "width": each}) for each in (width, 1.9))
    assert narrow[0] < wide[0]
    assert narrow[1] < wide[1]


def test_a_slipped_width_is_refused() -> None:
    with pytest.raises(ValueError, match="width must be above 0 and at most 16, got 0"):
        models.arch_from({"model": "resnet", "width": 0.0})
    with pytest.raises(ValueError, match="dropout must be 0 <= share < 1, got 1"):
        models.arch_from({"model": "alexnet", "dropout": 1.0})
    with pytest.raises(ValueError, match="groups"):
        models.arch_from({"model": "shufflenet_v1", "groups": 5})
    with pytest.raises(ValueError, match="dilated: expected a depth of 50"):
        models.arch_from({"model": "fcn", "dilated": True})
