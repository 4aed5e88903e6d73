"""Modules whose forward takes several tensors: all programs, on one core and on four, against PyTorch."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.calibrate import observed_ranges
from nas.compiler.front_end.lower import network_of
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.compiler.precision import Precision
from nas.core.errors import InputError
from nas.cost.model import Cost
from nas.cost.simulated import SimulatedCost
from nas.hw.load import find_processor
from nas.ir.command import Conv, Host, Matmul
from nas.sim.values import run_values
from tests.differential.test_compiler_against_torch import check_values
from tests.differential.test_precision import cosine, results

EDGE_NPU, QUAD_NPU = find_processor("edge_npu"), find_processor("quad_npu")
INT8 = Precision("int8")
Shapes = tuple[tuple[int, ...], ...]


class Siamese(nn.Module):
    """How far two pictures are from each other, by the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(8, 6)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        one, other = (self.head(self.layers(each).amax((2, 3))) for each in (left, right))
        return (one - other).abs()


class Conditioned(nn.Module):
    """A picture, and a vector of features that scales and shifts its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.features = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(5, 16)  # named as the arguments are

    def forward(self, image: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        scale, shift = self.features(features)[:, :, None, None].chunk(2, 1)
        return torch.relu(self.image(image) * scale + shift)


class CrossAttention(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True, kdim=width, vdim=width)

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        return query + self.attention(query, memory, memory)[0]


class Decoder(nn.Module):
    """A deep map, and the one that skips it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.joined = nn.ConvTranspose2d(12, 8, 2, 2), nn.Conv2d(16, 6, 3, padding=1)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        up = self.up(deep)
        return F.relu(self.joined(torch.cat([up, skip], 1))), up + skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Shapes, tuple[str, ...]]] = {
    "siamese": (Siamese, ((3, 16, 20), (3, 16, 20)), ("left", "right")),
    "siamese of two sizes": (Siamese, ((3, 16, 20), (3, 9, 9)), ("left", "right")),
    "conditioned": (Conditioned, ((3, 16, 14), (5,)), ("image", "features")),
    "cross attention": (CrossAttention, ((6, 16), (9, 16)), ("query", "memory")),
    "cross attention of two widths": (partial(CrossAttention, 12), ((6, 16), (9, 12)), ("query", "memory")),
    "decoder": (Decoder, ((12, 6, 5), (8, 12, 10)), ("deep", "skip")),
}


def built(name: str, batch: int) -> tuple[nn.Module, Shapes, tuple[str, ...]]:
    kind, shapes, arguments = NETWORKS[name]
    torch.manual_seed(0)
    return kind().eval(), tuple((batch, *shape) for shape in shapes), arguments


@pytest.mark.parametrize("processor", [EDGE_NPU, QUAD_NPU], ids=["one core", "four cores"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_programs_give_what_torch_gives(name: str, batch: int, processor) -> None:
    module, shapes, arguments = built(name, batch)
    compiled = compile_network(module, shapes, processor)
    assert isinstance(compiled, Compiled), str(compiled)
    assert tuple(binding.name for binding in compiled.parallel.inputs) == arguments
    with torch.no_grad():
        expected = module(*(torch.from_numpy(compiled.truth[each]) for each in arguments))
    for binding, tensor in zip(
        compiled.parallel.outputs, expected if isinstance(expected, tuple) else (expected,), strict=True
    ):
        np.testing.assert_allclose(compiled.truth[binding.name], tensor, atol=1e-5)
    check_values(compiled, 1e-4)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "decoder"])
def test_each_input_has_codes_of_its_own(name: str) -> None:
    module, shapes, _ = built(name, 2)
    got, expected, compiled = results(module, shapes, INT8)
    assert cosine(got, expected) > 0.98
    products = [o.function for o in compiled.optimised.operators if isinstance(o.function, Conv | Matmul)]
    assert products
    assert all(each.input.bits == 8 for each in products)
    assert not any(isinstance(o.function, Host) for o in compiled.optimised.operators)


def test_ranges_are_of_tuples_of_tensors() -> None:
    module, _, _ = built("conditioned", 2)
    seeds = [torch.Generator().manual_seed(seed) for seed in range(2)]
    batches = [(torch.rand(2, 3, 8, 8, generator=each), 9 * torch.rand(2, 5, generator=each) - 3) for each in seeds]
    ranges = observed_ranges(module, batches)
    for place, name in enumerate(("image", "features")):
        every = torch.cat([batch[place] for batch in batches])
        assert ranges[name] == pytest.approx((float(every.min()), float(every.max())))
    compiled = compile_network(module, ((1, 3, 8, 8), (1, 5)), EDGE_NPU, precision=Precision("int8", batches))
    assert isinstance(compiled, Compiled), str(compiled)
    inputs = dict(zip(("image", "features"), (each[:1].numpy() for each in batches[0]), strict=True))
    (got,) = run_values(compiled.optimised, compiled.constants, inputs, run_on_host).values()
    with torch.no_grad():
        expected = module(*(each[:1] for each in batches[0])).numpy()
    assert cosine(got, expected) > 0.999
    # Seeded pixels would have shown no features below 0 or beyond 1.
    blind = compile_network(module, ((1, 3, 8, 8), (1, 5)), EDGE_NPU, precision=INT8)
    assert isinstance(blind, Compiled), str(blind)
    (clipped,) = run_values(blind.optimised, blind.constants, inputs, run_on_host).values()
    assert cosine(clipped, expected) < 0.9


def test_a_batch_says_what_it_lacks() -> None:
    module, shapes, _ = built("conditioned", 2)
    whole = tuple(torch.zeros(shape) for shape in shapes)
    with pytest.raises(InputError, match=r"batches\[1\]: expected a tensor for each of image, features, got 1"):
        observed_ranges(module, [whole, whole[:1]])


class _Product(nn.Module):
    """Of two matrices that have no images: seeded inputs of int8 must keep their shapes."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a.view(1, 4) * b.view(4, 1).sum()


def test_an_image_is_calibrated_alone_where_a_forward_takes_one() -> None:
    compiled = compile_network(_Product(), ((1, 4), (1, 4)), EDGE_NPU, precision=INT8)
    assert isinstance(compiled, Compiled), str(compiled)
    check_values(compiled, 2e-2)


def test_prices() -> None:
    module, shapes, _ = built("conditioned", 1)
    for precision in (Precision(), INT8):
        compiled = compile_network(module, shapes, EDGE_NPU, precision=precision)
        assert isinstance(compiled, Compiled), str(compiled)
        cost = SimulatedCost(EDGE_NPU, precision=precision).cost(module, shapes)
        assert isinstance(cost, Cost)
        assert cost.cycles == compiled.spread.trace.cycles
        with torch.device("meta"):
            without_numbers = Conditioned()
        assert SimulatedCost(EDGE_NPU, precision=precision).cost(without_numbers, shapes) == cost


def test_a_shape_alone_and_in_a_tuple_are_the_same() -> None:
    module = nn.Conv2d(3, 4, 3)
    alone, listed = (compile_network(module, shape, EDGE_NPU) for shape in ((1, 3, 8, 8), ((1, 3, 8, 8),)))
    assert isinstance(alone, Compiled)
    assert isinstance(listed, Compiled)
    assert alone.parallel == listed.parallel
    assert "input" in listed.truth


class _Apart(nn.Module):
    """Of more pictures than vectors: there are images of which one result has none."""

    def forward(self, image: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.relu(image), features * 2


@pytest.mark.parametrize("processor", [EDGE_NPU, QUAD_NPU], ids=["one core", "four cores"])
@pytest.mark.parametrize("shapes", [((3, 4, 6, 6), (2, 4)), ((1, 4, 6, 6), (5, 4))])
def test_inputs_of_different_counts(shapes: Shapes, processor) -> None:
    compiled = compile_network(_Apart(), shapes, processor)
    assert isinstance(compiled, Compiled), str(compiled)
    check_values(compiled, 1e-6)


class _Neck(nn.Module):
    """Gives maps by the names of its arguments, as necks do, and has a layer of such a name."""

    def __init__(self) -> None:
        super().__init__()
        self.p3 = nn.Conv2d(4, 4, 1)

    def forward(self, p3: torch.Tensor, p4: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"p4": p4 * 2, "p3": self.p3(p3), "sum": self.p3(p3) + p4.mean((2, 3), keepdim=True)}


def test_results_named_as_arguments() -> None:
    compiled = compile_network(_Neck(), ((2, 4, 6, 6), (2, 4, 3, 3)), EDGE_NPU)
    assert isinstance(compiled, Compiled), str(compiled)
    assert [binding.name for binding in compiled.parallel.inputs] == ["p3", "p4"]
    assert [binding.name for binding in compiled.parallel.outputs] == ["p4#2", "p3#2", "sum"]
    check_values(compiled, 1e-5)


class _Any(nn.Module):
    """Arguments without a name each, and one with a name that memories have."""

    def forward(self, dram: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return dram + others[0] * others[1]


def test_arguments_without_names() -> None:
    compiled = compile_network(_Any(), ((2, 4),) * 3, EDGE_NPU)
    assert isinstance(compiled, Compiled), str(compiled)
    assert [binding.name for binding in compiled.naive.inputs][1:] == ["others[0]", "others[1]"]
    check_values(compiled, 1e-5)


class _Tokens(nn.Module):
    def __init__(self, made: bool) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(10, 4), nn.Linear(3, 4)
        self.made = made

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.table(tokens.long() if self.made else tokens).sum(1)


def test_indices_are_floats_of_which_the_forward_makes_integers() -> None:
    shapes = ((2, 3), (2, 5))
    with pytest.raises(InputError, match=r"_Tokens.table: .* \(inputs are float32: x of 2x3, tokens of 2x5\)"):
        network_of(_Tokens(False), shapes)
    module = _Tokens(True).eval()
    compiled = compile_network(module, shapes, EDGE_NPU)
    assert isinstance(compiled, Compiled), str(compiled)
    check_values(compiled, 1e-5)
    tokens = torch.tensor([[1, 2, 3, 4, 9], [0, 0, 8, 7, 5]])
    inputs = {"x": compiled.truth["x"], "tokens": tokens.numpy().astype(np.float32)}
    (got,) = run_values(compiled.optimised, compiled.constants, inputs, run_on_host).values()
    with torch.no_grad():
        expected = module(torch.from_numpy(compiled.truth["x"]), tokens)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (((1, 3, 8, 8),), r"missing 1 required positional argument: 'right'"),
        (((1, 3, 8, 8),) * 3, r"takes 3 positional arguments but 4 were given"),
        (((1, 3, 8, 8), (1, 3, 0, 8)), r"right of 1x3x0x8\)"),
        (((1, 3, 8, 8), ()), r"right: expected a shape with the images in front, got \(\)"),
        (((1, 3, 8, 8), (1, 2, 8, 8)), r"\(inputs are float32: left of 1x3x8x8, right of 1x2x8x8\)"),
    ],
)
def test_errors_name_the_argument(shapes: Shapes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        compile_network(built("siamese", 1)[0], shapes, EDGE_NPU)
