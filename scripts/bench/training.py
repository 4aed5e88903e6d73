"""Training beside a plain loop, at the same images, steps and optimiser, and quantised training beside float32: ratios.

plain      float32, a DataLoader, torchvision's transforms image by image, the loop of any tutorial
images/s   of the median step, the input included, some steps of one loop and some of the other in turn; on a CPU per
           second of processor time
input      share of a step that goes into making the batch
peak       multiplications and additions of all matrices of a step, over what one large product reaches here in a second
DoReFa     a step of the paper's model A at W1 A2 G4 over one at full precision, in float32 and in the type used here
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

import models
from nas.data.augment import AugmentConfig
from nas.data.load import load_data
from nas.data.loader import Batches
from nas.data.source import DataConfig, Split
from nas.train.config import TrainConfig
from nas.train.machine.device import device_of
from nas.train.machine.kept_memory import kept_memory
from nas.train.machine.slow_kernels import without_slow_kernels
from nas.train.options import Options
from nas.train.recipe.metrics import evaluate
from nas.train.recipe.precision import autocast_dtype
from nas.train.step import TrainStep

NAME = "training"
_BATCH, _IMAGES, _RATE, _SHIFT_PX = 128, 12_800, 0.003, 2
_CASES = {  # a network, and the epochs that it takes to learn something
    "svhn_net": ({"model": "svhn_net"}, 1),
    "shufflenet_v2": ({"model": "shufflenet_v2", "width": 0.5}, 4),
}
_DOREFA_STEPS = 12
_IN_TURN = 10
Row = tuple[str, float, str]
Steps = Iterator[None]  # asking for the next one trains a step, its input included


def run() -> list[Row]:
    """Some eight minutes on one core."""
    device = device_of("auto")
    data = load_data(DataConfig(train_images=_IMAGES, validation_images=1000, test_images=None), device)
    peak = _matrix_peak(device)
    rows: list[Row] = []
    for name, (described, epochs) in _CASES.items():
        images, steps = epochs * _IMAGES, epochs * (_IMAGES // _BATCH)
        network, plain = (models.build(models.fitted(models.arch_from(described), 3, 10, 32), seed=0) for _ in range(2))
        with _our_training(network, data.train, epochs, device) as ours:
            plain_s, ours_s = _in_turn(
                _plain_training(plain.to(device), data.train, epochs, device), ours, steps, device
            )
        input_s = epochs * _seconds(partial(_inputs, data.train), device)
        rows += [
            (f"{name} plain loop", images / plain_s, "images/s"),
            (f"{name} here", images / ours_s, "images/s"),
            (f"{name} here over plain", plain_s / ours_s, "x"),
            (f"{name} plain test error", 100 * evaluate(plain, data.test).rate, "%"),
            (f"{name} test error", 100 * evaluate(network, data.test).rate, "%"),
            (f"{name} input share of a step", 100 * input_s / ours_s, "%"),
            (f"{name} share of the matrix peak", 100 * _operations(network) * images / ours_s / peak, "%"),
        ]
    return rows + _dorefa_rows(device)


def _in_turn(plain: Steps, ours: Steps, steps: int, device: torch.device) -> tuple[float, float]:
    """Seconds of each: its median step, times the steps. Some of one, some of the other: whatever else the machine does meets both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(steps // _IN_TURN):
        for training, taken, memory in zip((plain, ours), times, (nullcontext, kept_memory), strict=True):
            with memory():
                taken += [_seconds(partial(next, training), device) for _ in range(_IN_TURN)]
    return tuple(steps * sorted(taken)[len(taken) // 2] for taken in times)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """A split as torchvision's data sets give it: one picture at a time, through transforms."""

    def __init__(self, split: Split) -> None:
        self._images, self._labels = split.images.cpu().permute(0, 2, 3, 1).numpy(), split.labels.cpu().tolist()
        self._transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=_SHIFT_PX, padding_mode="edge"),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def _plain_training(network: nn.Module, split: Split, epochs: int, device: torch.device) -> Steps:
    loader = DataLoader(
        _Pictures(split), batch_size=_BATCH, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.02)
    schedule = OneCycleLR(optimizer, max_lr=_RATE, total_steps=epochs * len(loader))
    network.train()
    for _ in range(epochs):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(network(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield


@contextmanager
def _our_training(network: nn.Module, split: Split, epochs: int, device: torch.device) -> Iterator[Steps]:
    config = TrainConfig(epochs=epochs, batch_size=_BATCH, learning_rate=_RATE)
    model = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step, batches = TrainStep(model.train(), config, device, Options()), _batches(split)

    def steps() -> Steps:
        done, total = 0, epochs * len(batches)
        for epoch in range(epochs):
            for images, labels in batches.epoch(epoch):
                step(done, total, images, labels)
                done += 1
                yield

    with without_slow_kernels(model):  # as the loop of `train` does
        yield steps()


def _batches(split: Split) -> Batches:
    return Batches(split, _BATCH, 0, AugmentConfig(shift_px=_SHIFT_PX), channels_last=True)


def _inputs(split: Split) -> None:
    """Make the batches of an epoch."""
    for _ in _batches(split).epoch(0):
        pass


def _operations(network: nn.Module) -> float:
    """Of one image forward and backward, by torch's own counter."""
    images = torch.rand(2, 3, 32, 32, device=next(network.parameters()).device)
    with FlopCounterMode(display=False) as counter:
        network.train()(images).sum().backward()
    return counter.get_total_flops() / len(images)


def _matrix_peak(device: torch.device) -> float:
    """Operations per second of a large product in the type that training computes in."""
    kind, size = autocast_dtype("auto", device), 1024 if device.type == "cpu" else 8192
    matrix = torch.rand(size, size, device=device).to(kind)
    times = [_seconds(lambda: matrix @ matrix, device) for _ in range(7)]
    return float(2 * size**3 / min(times[1:]))


def _dorefa_rows(device: torch.device) -> list[Row]:
    images = torch.rand(_BATCH, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (_BATCH,), device=device)
    rows: list[Row] = []
    for precision in ("float32", "auto"):
        steps: list[TrainStep] = []
        for bits in ((32, 32, 32), (1, 2, 4)):
            named = dict(zip(("weight_bits", "activation_bits", "gradient_bits"), bits, strict=True))
            arch = models.fitted(models.arch_from({"model": "dorefa_svhn", "variant": "A", **named}), 3, 10, 32)
            network = models.build(arch, seed=0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            config = TrainConfig(batch_size=_BATCH, learning_rate=_RATE, precision=precision)
            steps.append(TrainStep(network.train(), config, device, Options()))
        # In turn, so that whatever else the machine does meets both.
        times: list[list[float]] = [[], []]
        for done in range(_DOREFA_STEPS):
            for step, taken in zip(steps, times, strict=True):
                train = partial(step, done, _DOREFA_STEPS, images, labels)
                taken.append(_seconds(train, device))
        whole, quantised = (sorted(taken)[len(taken) // 2] for taken in times)
        rows.append((f"DoReFa A W1 A2 G4 over float, precision {precision}", quantised / whole, "of the step"))
    return rows


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        began_s = time.process_time()
        work()
        return time.process_time() - began_s
    torch.cuda.synchronize(device)
    began_s = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began_s
