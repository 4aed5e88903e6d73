"""Images of a batch one after the other on one core: where the maps of all together have no room, and nowhere else."""

import numpy as np
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.parallel.spread import ONE_CORE
from nas.compiler.precision import Precision
from nas.sim.values import run_values, run_values_parallel
from tests.processors import with_sram

IN_TURN = "3 images in turn"


class Fire(nn.Module):
    """Two convolutions side by side whose joined maps of one image fit the chip, and those of three do not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.squeeze = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(32, 8, 1)
        self.left, self.right = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        return self.squeeze(torch.cat([self.left(x).relu(), self.right(x).relu()], 1)).mean((2, 3))


class Deep(nn.Module):
    """Small maps and many weights, which are loaded once for all images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def compiled_for(module: nn.Module, shape: tuple[int, ...], kib: int) -> Compiled:
    processor = with_sram(kib)
    compiled = compile_network(module, shape, processor, precision=Precision("int8"))
    assert isinstance(compiled, Compiled)
    return compiled


def test_images_come_in_turn_where_their_maps_have_no_room_together() -> None:
    compiled = compiled_for(Fire(), (3, 3, 24, 24), 48)
    spread = compiled.spread
    assert spread.partition == IN_TURN
    assert spread.cycles[IN_TURN] < 0.9 * spread.cycles[ONE_CORE]
    inputs, (binding,) = {"input": compiled.truth["input"]}, compiled.naive.outputs
    expected = run_values(compiled.naive, compiled.naive_constants, inputs)[binding.name]
    for seed in range(3):
        order = np.random.default_rng(seed)
        found = run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, order)[binding.name]
        np.testing.assert_array_equal(found, expected)


def test_a_batch_stays_together_where_weights_are_what_is_moved() -> None:
    spread = compiled_for(Deep(), (3, 64, 8, 8), 64).spread
    assert spread.partition == ONE_CORE
    assert not spread.is_partitioned


def test_one_image_leaves_no_choice() -> None:
    spread = compiled_for(Fire(), (1, 3, 24, 24), 48).spread
    assert (spread.partition, spread.cycles) == (ONE_CORE, {})
