"""Run by test_distributed.py in each of several processes: arguments are the rank, how many, a folder, and what to do.

They meet through a file and talk over the loopback device alone.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

os.environ["GLOO_SOCKET_IFNAME"] = "lo"

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.data.augment import AugmentConfig
from nas.data.source import Split
from nas.train import trainer
from nas.train.config import TrainConfig
from nas.train.machine.distributed import current_group
from nas.train.machine.shared_batch_norm import shared_batch_norms
from nas.train.observer import Observers
from nas.train.options import Options
from nas.train.recipe.early_stop import EarlyStopConfig
from nas.train.recipe.mixing import MixConfig
from nas.train.recipe.stepper import WholeNetwork
from nas.train.state.checkpoint import save_tensors

CONFIG = TrainConfig(
    epochs=3,
    batch_size=24,
    accumulate=2,
    learning_rate=0.01,
    precision="float32",
    ema_decay=0.9,
    clip_norm=1.0,
    label_smoothing=0.1,
    mix=MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0),
    augment=AugmentConfig(shift_px=1),
    early_stop=EarlyStopConfig(evaluations=3),
    checkpoint_every_s=1e-9,
)


class _Interrupts(Observers):
    def progress(self, step: int, steps: int, images_per_s: float, eta_s: float, loss: float) -> None:
        if step > 13:
            raise KeyboardInterrupt


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
            nn.Linear(216, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2),
        )  # fmt: skip


def split(images: int) -> Split:
    generator = torch.Generator().manual_seed(images)
    pictures = torch.randint(0, 256, (images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pictures, (pictures[:, 0, :4].float().mean((1, 2)) > 127).long())


def norms(rank: int, size: int) -> dict[str, Tensor]:
    """A batch norm in training, of this process's share: output, gradients and statistics."""
    x = torch.randn(12, 5, 4, 3, generator=torch.Generator().manual_seed(0)) * 3 + 7
    wanted = torch.randn(12, 5, 4, 3, generator=torch.Generator().manual_seed(1))
    share = slice(rank * 12 // size, (rank + 1) * 12 // size)
    norm = nn.BatchNorm2d(5)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(5.0))
    own = x[share].clone().requires_grad_()
    with shared_batch_norms(norm, current_group()):
        y = norm(own)
    (y * wanted[share]).sum().backward()
    assert own.grad is not None
    assert norm.weight.grad is not None
    current_group().sum_(norm.weight.grad)
    return {"y": y, "x_grad": own.grad, "weight_grad": norm.weight.grad, **dict(norm.named_buffers())}


def main(rank: int, size: int, folder: Path, task: str) -> None:
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{task}", rank=rank, world_size=size)
    if task == "norms":
        save_tensors(folder / f"norms-{rank}.safetensors", norms(rank, size))
    elif task == "odd":
        for config, options in (
            (TrainConfig(batch_size=25), Options()),
            (TrainConfig(batch_size=24), Options(stepper=WholeNetwork)),
        ):
            try:
                trainer.train(network(0), split(60), split(30), config, None, options)
            except InputError as error:
                print(error)
    elif task == "begun":
        trainer._REPORT_EVERY_S = 0.0
        with suppress(KeyboardInterrupt):
            trainer.train(network(rank), split(240), split(1100), CONFIG, folder / "run", Options(_Interrupts()))
    else:
        model = network(rank)  # the first one's weights count
        result = trainer.train(model, split(240), split(1100), CONFIG, folder / "run" if task == "resumed" else None)
        save_tensors(folder / f"{task}-{rank}.safetensors", dict(model.state_dict()))
        curve = [[point.step, point.loss, point.error.errors] for point in result.curve]
        (folder / f"{task}-{rank}.json").write_text(json.dumps([*curve, [result.error.errors]]))
    if size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
