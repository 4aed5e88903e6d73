"""The blocks against the papers, and the promise of the quantised ones: whatever reads, reads a grid."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenetv2, shufflenetv2

from models.bits import Bits
from models.blocks.convolution import ConvBnAct, Unit, rectifier, signed_quantizer
from models.blocks.mobile import InvertedResidual
from models.blocks.shuffle import ChannelShuffle, ShuffleUnit
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
