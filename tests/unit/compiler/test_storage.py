"""Where tensors lie: what a view shows in another order is written there straight away, so that nothing is moved."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.compiler.front_end.lower import network_of
from nas.compiler.network import Network
from nas.compiler.opt.layout.storage import Storage, assign_storage

SHAPE = (2, 3, 6, 8)


class _Layers(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.after, self.last = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(3, 4, 3), nn.Conv2d(6, 4, 1)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def stored(function: Callable[..., torch.Tensor]) -> tuple[Network, Storage]:
    network = network_of(_Layers(function), (SHAPE,))
    return network, assign_storage(network)


def moved_elements(storage: Storage) -> int:
    return sum(target.elements for boxes in storage.moves.values() for _, target in boxes)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.after(F.pixel_shuffle(m.conv(x), 2)),
        lambda m, x: m.conv(x).permute(0, 2, 3, 1),
        lambda m, x: m.last(torch.cat([F.pixel_shuffle(m.conv(x), 2), F.pixel_shuffle(m.conv(x.relu()), 2)], 1)),
        lambda m, x: m.after(F.pixel_shuffle(torch.cat([m.after(F.pad(x, (1, 1, 1, 1))), m.conv(x)[:, :8] * 2], 1), 2)),
    ],
    ids=["before a convolution", "at the end", "into a concat", "of a concat"],
)
def test_a_view_of_what_nobody_else_reads_moves_nothing(function) -> None:
    _, storage = stored(function)
    assert not storage.moves


def test_what_others_read_as_well_stays_as_it_is() -> None:
    def shuffled_and_pooled(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = m.conv(x)
        return m.after(F.pixel_shuffle(y, 2)).mean((2, 3)) + y.mean((2, 3))[:, :4]

    _, storage = stored(shuffled_and_pooled)
    assert moved_elements(storage) == 2 * 12 * 6 * 8


def test_a_part_that_strides_cannot_say_is_moved() -> None:
    """3 of 12 channels are no whole steps of the axes (3, 2, 2) that the view makes of them."""
    _, storage = stored(lambda m, x: F.pixel_shuffle(torch.cat([x.relu(), m.conv(x)[:, :9] * 2], 1), 2))
    assert moved_elements(storage) == 2 * 12 * 6 * 8


def test_a_view_that_becomes_part_of_a_view_of_a_concat_is_moved_once() -> None:
    """Strides could say where each of the two sends its elements, but not where both together do."""

    def shuffled_twice(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = F.channel_shuffle(m.conv(x), 2)
        return F.pixel_shuffle(torch.cat([y, y.relu(), y * 0.5], 1), 2)

    _, storage = stored(shuffled_twice)
    assert moved_elements(storage) == 2 * 12 * 6 * 8


def test_copies_go_straight_to_their_places() -> None:
    network, storage = stored(lambda m, x: m.after(F.interpolate(x.relu(), scale_factor=2)))
    (concat,) = (index for index, each in enumerate(network.operators) if len(each.inputs) == 4)
    assert list(storage.moves) == [concat]
    assert moved_elements(storage) == 2 * 3 * 12 * 16
    assert {target.offset_bytes for _, target in storage.moves[concat]} == {0, 4, 4 * 16, 4 * 17}
