"""Run by test_kill.py: trains in the folder of its argument with everything on, saving after every step."""

import sys
from pathlib import Path

import torch
from torch import nn

from nas.data.augment import AugmentConfig
from nas.data.source import Split
from nas.train import trainer
from nas.train.config import TrainConfig
from nas.train.recipe.early_stop import EarlyStopConfig
from nas.train.recipe.mixing import MixConfig
from nas.train.state.checkpoint import save_tensors

CONFIG = TrainConfig(
    epochs=8,
    batch_size=16,
    accumulate=2,
    checkpoint_every_s=1e-9,
    ema_decay=0.95,
    clip_norm=1.0,
    schedule="cosine",
    mix=MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0, probability=0.8),
    augment=AugmentConfig(shift_px=1, erase_probability=0.3, erase_px=2),
    early_stop=EarlyStopConfig(evaluations=9),
)


def split(images: int) -> Split:
    generator = torch.Generator().manual_seed(images)
    pictures = torch.randint(0, 256, (images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures, (pictures[:, 0, :4].float().mean((1, 2)) > 127).long())


def main(folder: Path, seed: int) -> None:
    """seed: of the weights that the process begins with, if there is nothing to resume."""
    trainer._REPORT_EVERY_S = 0.0
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(216, 2)
    )
    result = trainer.train(network, split(320), split(200), CONFIG, folder)
    curve = torch.tensor([[point.step, point.loss, point.error.errors] for point in result.curve], dtype=torch.float64)
    save_tensors(folder / "end.safetensors", {**network.state_dict(), "curve": curve})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
