"""Attention heads some at a time: where they can be kept apart, what fits by it, and what that is worth."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.quantizers import ActivationQuantizer
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.front_end.naive import naive_program
from nas.compiler.opt.pipeline import PASSES
from nas.compiler.opt.rewrite.apart import Apart
from nas.compiler.parts.heads import Heads, cut_by_groups
from nas.compiler.parts.islands import Island, islands_between_products, size_of_parts, with_rows
from nas.compiler.passes import run_passes
from nas.compiler.precision import AS_IT_IS, Precision, network_in
from nas.hw.spec import Processor
from nas.ir.command import Conv
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from nas.sim.values import run_values, run_values_parallel
from tests.processors import EDGE_NPU, with_sram

APART_OFF = frozenset(["apart"])


class Attention(nn.Module):
    """heads of `size` channels over the pixels of a map; kind: what happens between the products."""

    def __init__(self, heads: int = 3, size: int = 8, kind: str = "plain") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.size, self.kind = heads, size, kind
        self.qkv, self.out = nn.Conv2d(3, 3 * heads * size, 1), nn.Conv2d(heads * size, 4, 1)
        self.few = nn.ModuleList([ActivationQuantizer(4) for _ in range(3)])
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, _, rows, columns = x.shape
        parts = self.qkv(x).flatten(2).unflatten(1, (3, self.heads, self.size)).mT.unbind(1)
        if self.kind == "few bits":
            parts = [bits(part) for bits, part in zip(self.few, parts, strict=True)]
        queries, keys, values = parts
        scores = queries @ keys.mT / 3
        if self.kind == "masked":
            scores = scores + torch.full(scores.shape[-2:], -torch.inf).triu(1)
        if self.kind == "biased":
            scores = scores + torch.linspace(-1, 1, self.heads).view(-1, 1, 1)
        if self.kind == "placed":  # a bias of its own for every two tokens of each head
            scores = scores + torch.linspace(-1, 1, scores[0].numel()).reshape(scores.shape[1:])
        if self.kind == "led":  # by the keys
            scores = scores + keys.mean(-1)[:, :, None]
        shares = F.softmax(scores, -1)
        if self.kind == "mixed":  # what one head finds counts for the others
            shares = shares + shares.mean(1, keepdim=True)
        result = self.out((shares @ values).mT.reshape(images, -1, rows, columns))
        return result.mean((2, 3)) + scores.amax(-1).mean((1, 2))[:, None] if self.kind == "seen" else result


class Windows(nn.Module):
    """Attention within the left and the right half of a map."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.tokens = nn.Conv2d(3, 12, 1)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, _, rows, columns = x.shape
        halves = self.tokens(x).reshape(images, 12, rows, 2, columns // 2).permute(0, 3, 2, 4, 1).flatten(2, 3)
        y = halves.reshape(images * 2, -1, 12)
        return self.attention(y, y, y, need_weights=False)[0].reshape(images, -1)


def compiled_for(
    module: nn.Module, processor: Processor, precision: Precision = AS_IT_IS, **options: object
) -> Compiled:
    compiled = compile_network(module, (2, 3, 6, 9), processor, precision=precision, **options)  # type: ignore[arg-type]
    assert isinstance(compiled, Compiled), str(compiled)
    return compiled


def values(compiled: Compiled) -> list[np.ndarray]:
    """What the naive, the optimised and the parallel program give."""
    inputs, (binding,) = {"input": compiled.truth["input"]}, compiled.naive.outputs
    order = np.random.default_rng(0)
    return [
        run_values(compiled.naive, compiled.naive_constants, inputs)[binding.name],
        run_values(compiled.optimised, compiled.constants, inputs)[binding.name],
        run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, order)[binding.name],
    ]


def with_and_without(
    module: nn.Module, size: int, processor: Processor, images: int = 1
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The cycles of maps of size x size, and the bytes that go to dram and back; the same where `apart` is off."""
    found = []
    for off in (frozenset[str](), APART_OFF):
        compiled = compile_network(
            module.to("meta"), (images, 3, size, size), processor, precision=Precision("int8"), switched_off=off
        )
        assert isinstance(compiled, Compiled)
        moved_bytes = sum(span.dram_bytes for span in simulate(compiled.optimised, processor).spans)
        found.append((simulate_parallel(compiled.parallel, processor).cycles, moved_bytes))
    return found[0], found[1]


def products(operators: tuple[object, ...]) -> int:
    return sum(isinstance(each.function, Conv) and "matmul" in each.layer for each in operators)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("plain", True),
        ("masked", True),
        ("biased", True),
        ("placed", True),
        ("led", True),
        ("mixed", False),
        ("seen", False),
        ("few bits", True),
    ],
)
def test_heads_are_apart_up_to_the_next_product_unless_one_reads_another(kind: str, members: bool) -> None:
    network = run_passes(PASSES, network_of(Attention(kind=kind), ((2, 3, 6, 9),)), EDGE_NPU)
    islands = islands_between_products(network)
    assert [island.groups for island in islands] == [3] * members
    cut = cut_by_groups(network, dict.fromkeys(islands, 2))
    assert products(cut.operators) == (4 if members else 2)
    assert cut.outputs == network.outputs


@pytest.mark.parametrize("kind", ["plain", "masked", "biased", "placed", "mixed", "seen", "few bits"])
@pytest.mark.parametrize("kib", [9, 24, 512])
def test_the_numbers_are_those_of_torch(kind: str, kib: int) -> None:
    compiled = compiled_for(Attention(kind=kind), with_sram(kib))
    (binding,) = compiled.naive.outputs
    naive, optimised, parallel = values(compiled)
    np.testing.assert_allclose(naive, compiled.truth[binding.name], atol=3e-6)
    # Of a bias and a scale behind it the optimised programs make one table, which rounds once less.
    np.testing.assert_allclose(optimised, naive, rtol=0, atol=2e-7 if kind == "biased" else 0)
    np.testing.assert_array_equal(parallel, optimised)


@pytest.mark.parametrize("kind", ["plain", "masked", "biased"])
@pytest.mark.parametrize("size", [1, 2])
def test_some_heads_after_the_others_give_the_same_integers(kind: str, size: int) -> None:
    network = network_in(Attention(kind=kind), (2, 3, 6, 9), EDGE_NPU, Precision("int8"))
    (island,) = islands_between_products(network)
    generator = np.random.default_rng(0)
    inputs = {"input": generator.random((2, 3, 6, 9), np.float32)}
    whole, parts = (
        run_values(naive_program(each, EDGE_NPU), each.constants, inputs)
        for each in (network, cut_by_groups(network, {island: size}))
    )
    assert list(whole) == list(parts)
    for name, expected in whole.items():
        np.testing.assert_array_equal(parts[name], expected)


@pytest.mark.parametrize(
    ("kind", "heads"),
    [
        ("plain", 3),
        ("plain", 1),
        ("few bits", 2),
        ("masked", 3),
        ("masked", 1),
        ("biased", 2),
        ("placed", 3),
        ("placed", 1),
    ],
)
@pytest.mark.parametrize("precision", ["int8", "float"])
@pytest.mark.parametrize("rows", [8, 20, 54])
def test_some_queries_of_a_head_after_the_others_give_the_same_numbers(
    rows: int, precision: str, kind: str, heads: int
) -> None:
    network = network_in(Attention(heads, kind=kind), (2, 3, 6, 9), EDGE_NPU, Precision(precision))
    island = with_rows(network, islands_between_products(network)[0])
    assert (island.groups, island.rows) == (heads, 54)
    cut = cut_by_groups(network, {island: rows})
    assert products(cut.operators) == 2 * heads * -(-54 // rows)
    inputs = {"input": np.random.default_rng(0).random((2, 3, 6, 9), np.float32)}
    whole, parts = (run_values(naive_program(each, EDGE_NPU), each.constants, inputs) for each in (network, cut))
    for name, expected in whole.items():
        np.testing.assert_array_equal(parts[name], expected)


def test_queries_are_told_apart_only_from_constants_and_up_to_a_product_that_reads_them_all() -> None:
    led = network_in(Attention(kind="led"), (2, 3, 6, 9), EDGE_NPU, Precision("int8"))
    (island,) = islands_between_products(led)
    # It is added where heads lie along one axis and queries along the next.
    assert with_rows(led, island).rows == 1
    alone = run_passes(PASSES, network_of(Attention(1), ((2, 3, 6, 9),)), EDGE_NPU)
    *_, product = islands_between_products(alone)[0].members
    out = max(index for index, each in enumerate(alone.operators) if each.layer == "out")
    assert with_rows(alone, Island((product, out), 1)).rows == 1


@pytest.mark.parametrize("kind", ["plain", "biased"])
def test_a_head_that_overflows_the_chip_passes_through_it_some_queries_at_a_time(kind: str) -> None:
    """The maps of a head, five bytes for each two tokens, are five times what the chip holds."""
    found = with_and_without(Attention(heads=2, size=16, kind=kind), 16, with_sram(64))
    (cycles, moved_bytes), (cycles_whole, moved_bytes_whole) = found
    assert cycles < 0.4 * cycles_whole
    assert moved_bytes < 0.1 * moved_bytes_whole


def test_parts_are_of_all_images_of_a_batch_and_fit_the_chip_together() -> None:
    """Sized for one image, those of three are beside each other in the dram."""
    found = with_and_without(Attention(heads=2, size=16), 16, with_sram(64), images=3)
    (cycles, moved_bytes), (cycles_whole, moved_bytes_whole) = found
    assert cycles < 0.4 * cycles_whole
    assert moved_bytes < 0.2 * moved_bytes_whole


def test_few_queries_pass_at_a_time_where_the_data_of_a_head_alone_overflows_the_chip() -> None:
    processor = with_sram(12)
    network = network_in(Attention(2, 12).to("meta"), (3, 3, 7, 10), processor, Precision("float"))
    cut = Apart().run(run_passes(PASSES, network, processor), processor)
    assert products(cut.operators) == 2 * 2 * -(-70 // (processor.matrix.columns // 8))


def test_a_product_whose_groups_do_not_fit_is_cut_before_any_program_is_made() -> None:
    network = network_of(Attention(), ((2, 3, 6, 9),))
    assert Heads().run(network, EDGE_NPU) is network
    cut = Heads().run(network, with_sram(9))
    # The second product does not fit, and is cut with the first one and what lies between them.
    assert products(cut.operators) == 3 + 3
    assert Heads().run(cut, with_sram(9)) is cut


def test_an_island_is_nothing_but_its_members() -> None:
    network = run_passes(PASSES, network_of(Attention(), ((2, 3, 6, 9),)), EDGE_NPU)
    (island,) = islands_between_products(network)
    assert cut_by_groups(network, {}) is network
    whole = cut_by_groups(network, {Island(island.members, island.groups): island.groups})
    assert products(whole.operators) == products(network.operators)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_heads_of_windows_lie_along_two_axes(size: int) -> None:
    """Two windows of three heads: parts are heads of one window, or whole windows."""
    network = run_passes(PASSES, network_of(Windows(), ((2, 3, 6, 8),)), EDGE_NPU)
    (island,) = islands_between_products(network)
    assert island.groups == 2 * 3
    assert [size_of_parts(network, island, most) for most in range(1, 8)] == [1, 1, 3, 3, 3, 6, 6]
    inputs = {"input": np.random.default_rng(0).random((2, 3, 6, 8), np.float32)}
    whole, parts = (
        run_values(naive_program(each, EDGE_NPU), each.constants, inputs)
        for each in (network, cut_by_groups(network, {island: size_of_parts(network, island, size)}))
    )
    for name, expected in whole.items():
        np.testing.assert_array_equal(parts[name], expected)


def test_heads_that_overflow_the_chip_together_pass_through_it_one_by_one() -> None:
    """The maps of all heads, five bytes for each two tokens, are four times what the chip holds."""
    found = with_and_without(Attention(heads=8, size=16), 11, with_sram(128))
    (cycles, moved_bytes), (cycles_together, moved_bytes_together) = found
    assert cycles < 0.7 * cycles_together
    assert moved_bytes < 0.3 * moved_bytes_together


class WideGroups(nn.Module):
    """Two groups of many channels, behind and before other layers; the last one makes the output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 48, 1),
            nn.ReLU(),
            nn.Conv2d(48, 96, 3, stride=2, padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(96, 64, 3, padding=1, groups=2),
        )
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.parametrize("precision", ["float", "int8", "bfloat16"])
@pytest.mark.parametrize("kib", [4, 8, 16, 24, 512])
def test_groups_of_which_not_one_fits_become_convolutions_whose_channels_can_be_cut(kib: int, precision: str) -> None:
    processor, module = with_sram(kib), WideGroups()
    network = network_in(module, (2, 3, 14, 11), processor, Precision(precision))
    assert Heads().run(network, EDGE_NPU) is network
    convolutions = sum(isinstance(each.function, Conv) for each in Heads().run(network, processor).operators)
    assert convolutions == 3 + 2 * (kib <= 8) or 8 < kib < 512  # a group of each has 9 or 10 KB of weights in int8
    compiled = compile_network(module, (2, 3, 14, 11), processor, precision=Precision(precision))
    assert isinstance(compiled, Compiled), str(compiled)
    naive, optimised, parallel = values(compiled)
    np.testing.assert_array_equal(parallel, optimised)
    if precision == "int8":
        np.testing.assert_array_equal(optimised, naive)
    (binding,) = compiled.naive.outputs
    tolerance = {"float": 1e-5, "bfloat16": 0.02, "int8": 0.02}[precision]
    np.testing.assert_allclose(naive, compiled.truth[binding.name], atol=tolerance)
    np.testing.assert_allclose(optimised, compiled.truth[binding.name], atol=tolerance)
