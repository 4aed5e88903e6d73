"""The blocks against the papers, and the promise of the quantised ones: whatever reads, reads a grid."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenetv2, mobilenetv3, resnet, shufflenetv2

from models.bits import Bits
from models.blocks.convolution import ConvBnAct, Unit, conv_unit, hard_swish, rectifier, signed_quantizer
from models.blocks.mobile import InvertedResidual, separable_unit
from models.blocks.residual import basic_unit, bottleneck_unit
from models.blocks.shuffle import ChannelShuffle, Concat, ShuffleUnit, group_shuffle_unit
from models.quantizers import ActivationQuantizer


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _on_grid(x: Tensor, quantizer: ActivationQuantizer) -> bool:
    return torch.equal(quantizer(x), x)


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_channel_shuffle_is_torchs(groups: int) -> None:
    x = torch.randn(2, 12, 3, 5, generator=_generator())
    assert torch.equal(ChannelShuffle(groups)(x), nn.functional.channel_shuffle(x, groups))


def test_full_precision_inverted_residual_is_torchvisions() -> None:
    ours, theirs = (
        InvertedResidual(Unit(8, 8, skip=True), expansion=6).eval(),
        mobilenetv2.InvertedResidual(8, 8, 1, 6).eval(),
    )
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 8, 9, 9, generator=_generator())
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("stride", [1, 2])
def test_full_precision_shuffle_unit_is_torchvisions(stride: int) -> None:
    ours = ShuffleUnit(Unit(16, 16, stride=stride), downsample=stride == 2).eval()
    theirs = shufflenetv2.InvertedResidual(16, 16, stride).eval()
    shortcut = [] if ours.shortcut is None else list(ours.shortcut.state_dict().values())
    values = [*shortcut, *ours.branch.state_dict().values()]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    x = torch.randn(2, 16, 9, 9, generator=_generator())
    torch.testing.assert_close(ours(x), theirs(x))


def _loads_and_equals(ours: nn.Module, theirs: nn.Module, channels: int) -> None:
    values = list(ours.state_dict().values())
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    x = torch.randn(2, channels, 9, 9, generator=_generator())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("swish", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_full_precision_mobile_v3_is_torchvisions(stride: int, swish: bool) -> None:
    curve = hard_swish if swish else rectifier
    unit = Unit(8, 8, 5, stride, skip=True)
    ours = InvertedResidual(unit, expansion=4, activation=curve, squeeze_excite=True)
    config = mobilenetv3.InvertedResidualConfig(8, 5, 32, 8, True, "HS" if swish else "RE", stride, 1, 1.0)
    _loads_and_equals(ours, mobilenetv3.InvertedResidual(config, nn.BatchNorm2d), 8)


@pytest.mark.parametrize("stride", [1, 2])
def test_full_precision_residuals_are_torchvisions(stride: int) -> None:
    def shortcut(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    same = stride == 1
    basic = resnet.BasicBlock(8, 8, stride, None if same else shortcut(8, 8))
    _loads_and_equals(basic_unit(Unit(8, 8, stride=stride, skip=True)), basic, 8)
    bottleneck = resnet.Bottleneck(16, 4, stride, None if same else shortcut(16, 16))
    _loads_and_equals(bottleneck_unit(Unit(16, 16, stride=stride, skip=True)), bottleneck, 16)


def test_a_factorised_convolution_is_one_by_n_and_n_by_one() -> None:
    unit = conv_unit(Unit(4, 6, 5, 2, factorised=True))
    kernels = [(m.kernel_size, m.stride, m.padding) for m in unit.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [((1, 5), (1, 2), (0, 2)), ((5, 1), (2, 1), (2, 0))]
    plain = conv_unit(Unit(4, 6, 5, 2))
    x = torch.rand(1, 4, 11, 12, generator=_generator())
    assert unit(x).shape == plain(x).shape == (1, 6, 6, 6)


def test_a_group_shuffle_unit_is_the_papers() -> None:
    """Figure 2 of arXiv 1707.01083 in functions, with the weights of the unit."""
    f = nn.functional
    x = torch.randn(2, 24, 8, 8, generator=_generator()).relu()
    for stride, outputs in ((1, 24), (2, 48)):
        unit = group_shuffle_unit(Unit(24, outputs, stride=stride), groups=3).eval()
        narrow, spatial, widen = (m for m in unit.modules() if isinstance(m, nn.Conv2d))
        assert (narrow.groups, spatial.groups, widen.groups) == (3, outputs // 4, 3)
        scale = (1 + 1e-5) ** -0.5  # a fresh batch norm
        y = f.channel_shuffle((f.conv2d(x, narrow.weight, groups=3) * scale).relu(), 3)
        y = f.conv2d(y, spatial.weight, stride=stride, padding=1, groups=outputs // 4) * scale
        y = f.conv2d(y, widen.weight, groups=3) * scale
        mean = f.avg_pool2d(x, 3, 2, 1)
        expected = (torch.cat((mean, y), 1) if stride == 2 else x + y).relu()
        torch.testing.assert_close(unit(x), expected)


def test_a_group_shuffle_unit_that_cannot_widen_projects() -> None:
    for unit in (Unit(24, 24, stride=2), Unit(32, 24), Unit(23, 24)):
        module = group_shuffle_unit(unit, groups=3)
        assert not isinstance(module, Concat)
        assert module(torch.rand(2, unit.inputs, 8, 8)).shape == (2, 24, 8 // unit.stride, 8 // unit.stride)


@pytest.mark.parametrize("make", [conv_unit, separable_unit, basic_unit, bottleneck_unit, InvertedResidual])
def test_a_skip_adds_the_input(make) -> None:  # type: ignore[no-untyped-def]
    """With batch norms that give zero, what comes out is the input."""
    x = torch.rand(2, 8, 6, 6, generator=_generator())
    for skip in (True, False):
        block = make(Unit(8, 8, skip=skip))
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.weight)
        assert torch.equal(block(x), x if skip else torch.zeros_like(x))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "block",
    [
        lambda bits: ConvBnAct(8, 8, bits=bits),
        lambda bits: InvertedResidual(Unit(8, 8, bits=bits, skip=True)),
        lambda bits: InvertedResidual(Unit(8, 12, stride=2, bits=bits)),
        lambda bits: InvertedResidual(Unit(8, 8, 5, bits=bits, skip=True), expansion=1),
        lambda bits: ShuffleUnit(Unit(8, 8, bits=bits)),
        lambda bits: ShuffleUnit(Unit(8, 12, stride=2, bits=bits), downsample=True),
        lambda bits: conv_unit(Unit(8, 8, bits=bits, skip=True, factorised=True)),
        lambda bits: separable_unit(Unit(8, 8, bits=bits)),
        lambda bits: separable_unit(Unit(8, 8, bits=bits, skip=True)),
        lambda bits: InvertedResidual(Unit(8, 8, bits=bits, skip=True), 3, hard_swish, squeeze_excite=True),
        lambda bits: InvertedResidual(Unit(8, 12, bits=bits), 1, rectifier, squeeze_excite=True),
        lambda bits: basic_unit(Unit(8, 8, bits=bits, skip=True)),
        lambda bits: basic_unit(Unit(8, 12, stride=2, bits=bits, skip=True, factorised=True)),
        lambda bits: bottleneck_unit(Unit(8, 12, stride=2, bits=bits, skip=True)),
        lambda bits: bottleneck_unit(Unit(8, 8, bits=bits)),
        lambda bits: group_shuffle_unit(Unit(8, 8, bits=bits), 2),
        lambda bits: group_shuffle_unit(Unit(8, 16, stride=2, bits=bits), 2),
        lambda bits: group_shuffle_unit(Unit(8, 8, stride=2, bits=bits), 2),
    ],
)
def test_every_reader_of_a_quantised_block_reads_a_grid(block, bits: int) -> None:  # type: ignore[no-untyped-def]
    network = block(Bits(bits, bits))
    # An untrained batch norm barely scales: real ones spread the values over the whole range of the quantisers.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.5, generator=_generator(1))
            nn.init.normal_(module.bias, 0.0, 0.5, generator=_generator(2))
    grids = [rectifier(bits), *(m for m in network.modules() if isinstance(m, ActivationQuantizer))]
    read: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | ChannelShuffle):
            module.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    signed = isinstance(network, InvertedResidual) and network.residual
    before = signed_quantizer(bits)[0] if signed else rectifier(bits)
    image = torch.randn(4, 8, 10, 10, generator=_generator())
    out = network(before(image))
    assert len(read) >= 1
    for tensor in [*read, out]:
        assert any(_on_grid(tensor, grid) for grid in grids)


def test_the_parts_of_a_shuffle_have_one_format() -> None:
    unit = ShuffleUnit(Unit(8, 8, stride=2, bits=Bits(4, 4)), downsample=True)
    assert unit.shortcut is not None
    ends = [list(part.modules())[-1] for part in (unit.branch, unit.shortcut)]
    assert {end.integer_format() for end in ends if isinstance(end, ActivationQuantizer)} == {(4, 3 / 15, 0)}
    assert len(ends) == 2


def test_a_sum_on_the_grid_only_saturates() -> None:
    block = InvertedResidual(Unit(8, 8, bits=Bits(8, 8), skip=True)).eval()
    x = ActivationQuantizer(8, -4.0, 4.0)(torch.randn(2, 8, 6, 6, generator=_generator()) * 3)
    expected = (x + block.branch(x)).clamp(-4.0, 4.0 - 8 / 256)
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_a_sum_with_positive_numbers_lies_on_their_grid(bits: int) -> None:
    block = basic_unit(Unit(8, 8, bits=Bits(8, bits), skip=True)).eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0.0, 2.0, generator=_generator(1))
    grid = rectifier(bits)
    assert isinstance(grid, ActivationQuantizer)
    x = grid(torch.rand(2, 8, 6, 6, generator=_generator()) * 3)
    steps = (x + block.branch(x)) / grid.scale
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
