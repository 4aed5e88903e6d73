"""A network, images and a `TrainConfig` -> the trained network and its `TrainResult`.

The same seed gives the same curve and weights, also across a kill and a resume: on a CPU bit for bit. The loop never
waits for the device but about once a second, when it reports, checks for divergence, and saves if it is time to.
"""

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from nas.core.errors import CoevoError, InputError
from nas.core.seeding import stream_seed
from nas.data.loader import Batches
from nas.data.source import Split
from nas.train.checkpoint import Progress, load_checkpoint, of_prefix, save_checkpoint, with_prefix
from nas.train.config import TrainConfig
from nas.train.distillation import Teacher
from nas.train.losses import classification_loss
from nas.train.metrics import ErrorRate, evaluate
from nas.train.observer import Observer, Observers
from nas.train.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors, set_learning_rate
from nas.train.precision import autocast_dtype
from nas.train.schedule import SCHEDULES
from nas.train.slow_kernels import without_slow_kernels

_REPORT_EVERY_S = 1.0


class CurvePoint(msgspec.Struct, frozen=True):
    """After `step` steps: the mean training loss since the point before, and the validation error."""

    step: int
    loss: float
    error: ErrorRate


class TrainResult(msgspec.Struct, frozen=True):
    """error: of the validation images, in float32. seconds: over all sessions, evaluation included.

    images_per_s: of this session's training steps alone, 0 if it had none. stopped: by `should_stop`, before the end.
    """

    error: ErrorRate
    curve: tuple[CurvePoint, ...]
    images_per_s: float
    seconds: float
    steps: int
    parameters: int
    stopped: bool = False


class DivergedError(CoevoError):
    """The training loss is no finite number any more."""


def train(
    model: nn.Module,
    data_train: Split,
    data_validation: Split,
    config: TrainConfig,
    folder: Path | None = None,
    observer: Observer | None = None,
    should_stop: Callable[[int, float], bool] | None = None,
) -> TrainResult:
    """Train `model` in place, on the device of `data_train`.

    folder: for checkpoints; one that is there already is resumed, and must be of the same run. should_stop: asked
    after each evaluation with the step and the error rate. Raises DivergedError with the step, InputError for data or
    checkpoints that do not fit.
    """
    session = _Session(model, data_train, data_validation, config, observer or Observers())
    return session.start(folder, should_stop)


def distil(
    model: nn.Module,
    teacher: Teacher,
    data_train: Split,
    data_validation: Split,
    config: TrainConfig,
    folder: Path | None = None,
    observer: Observer | None = None,
) -> TrainResult:
    """As `train`, but with the loss of a teacher; a run that is resumed must have the same one."""
    session = _Session(model, data_train, data_validation, config, observer or Observers())
    session.listen_to(teacher)
    return session.start(folder, None)


class _Session:
    """The mutable state of one call of `train`."""

    def __init__(
        self, model: nn.Module, data_train: Split, data_validation: Split, config: TrainConfig, observer: Observer
    ) -> None:
        self.config, self.validation, self.observer = config, data_validation, observer
        self.device = data_train.images.device
        seed, channels_last = stream_seed(config.seed, "batches"), config.channels_last is not False
        self.batches = Batches(data_train, config.batch_size, seed, config.augment, channels_last=channels_last)
        self.steps = max(1, round(config.epochs * len(self.batches)))
        self.evaluate_every = round(config.evaluate_every_epochs * len(self.batches)) or self.steps
        self.autocast = autocast_dtype(config.precision, self.device)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(model, config.optimizer, config.learning_rate, config.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast == torch.float16)
        self.schedule = SCHEDULES[config.schedule]
        self.step, self.seconds, self.stopped = 0, 0.0, False
        self.curve: list[CurvePoint] = []
        self.loss_sum, self.loss_steps = 0.0, 0
        self.unread: list[Tensor] = []  # losses on the device that nobody has looked at
        self.rng: dict[str, Tensor] = {}
        self.teacher: Teacher | None = None

    def listen_to(self, teacher: Teacher) -> None:
        """Learn from `teacher` too."""
        teacher.network.to(self.device)
        self.teacher = teacher

    def start(self, folder: Path | None, should_stop: Callable[[int, float], bool] | None) -> TrainResult:
        """Train from the beginning, or from the checkpoint of `folder`, to the end."""
        run = self.identity()
        if folder is not None:
            self.resume(folder, run)
        devices = [self.device] if self.device.type == "cuda" else []
        # A model may draw from torch's generators, as dropout does.
        with torch.random.fork_rng(devices=devices), without_slow_kernels(self.model):
            self.seed_generators()
            return self.run(folder, run, should_stop)

    def identity(self) -> dict[str, object]:
        """What two sessions of one run have in common."""
        same: dict[str, object] = msgspec.to_builtins(self.config)
        for free in ("checkpoint_every_s", "device"):
            del same[free]
        network = hashlib.sha256(str(self.model).encode()).hexdigest()[:16]
        taught = {} if self.teacher is None else {"teacher": self.teacher.identity()}
        return {**same, **taught, "steps": self.steps, "network": network}

    def seed_generators(self) -> None:
        """Torch's own generators, as a new run starts or as the checkpoint left them."""
        torch.manual_seed(stream_seed(self.config.seed, "train"))
        if "cpu" in self.rng:
            torch.set_rng_state(self.rng["cpu"])
        if "cuda" in self.rng and self.device.type == "cuda":
            torch.cuda.set_rng_state(self.rng["cuda"], self.device)

    def resume(self, folder: Path, run: dict[str, object]) -> None:
        """Take over the checkpoint of `folder`, if it has one."""
        found = load_checkpoint(folder)
        if found is None:
            return
        progress, tensors = found
        for name in run.keys() | progress.run.keys():
            if run.get(name) != progress.run.get(name):
                hint = "the folder holds another run; choose another folder, or give the same values to resume"
                raise InputError(folder, name, repr(progress.run.get(name)), repr(run.get(name)), hint)
        self.model.load_state_dict(of_prefix("model/", tensors))
        load_optimizer_tensors(self.optimizer, of_prefix("optimizer/", tensors))
        self.rng = of_prefix("rng/", tensors)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(progress.scaler)
        self.step, self.seconds, self.stopped = progress.step, progress.seconds, progress.stopped
        self.loss_sum, self.loss_steps = progress.loss_sum, progress.loss_steps
        self.curve = msgspec.convert(progress.curve, list[CurvePoint])

    def save(self, folder: Path, run: dict[str, object]) -> None:
        """Make the present state the checkpoint of `folder`."""
        rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        tensors = {
            **with_prefix("model/", self.model.state_dict()),
            **with_prefix("optimizer/", optimizer_tensors(self.optimizer)),
            **with_prefix("rng/", rng),
        }
        curve, scaler = msgspec.to_builtins(self.curve), self.scaler.state_dict()
        progress = Progress(self.step, self.seconds, self.loss_sum, self.loss_steps, self.stopped, curve, scaler, run)
        save_checkpoint(folder, progress, tensors)

    def run(
        self, folder: Path | None, run: dict[str, object], should_stop: Callable[[int, float], bool] | None
    ) -> TrainResult:
        """Train from the present step to the last."""
        self.model.train()
        first, steps_s = self.step, 0.0
        seconds_before, started = self.seconds, time.perf_counter()
        reported = saved = resumed = started
        while self.step < self.steps and not self.stopped:
            epoch, start = divmod(self.step, len(self.batches))
            for images, labels in self.batches.epoch(epoch, start):
                self._train_step(images, labels)
                last, now = self.step == self.steps, time.perf_counter()
                evaluates = last or self.step % self.evaluate_every == 0
                if not evaluates and now - reported < _REPORT_EVERY_S:
                    continue
                loss = self._read_losses()
                now = time.perf_counter()  # reading waited for the device
                steps_s, resumed, reported = steps_s + now - resumed, now, now
                images_per_s = (self.step - first) * self.config.batch_size / steps_s
                self._report(loss, images_per_s)
                if evaluates:
                    self._evaluate(last, should_stop)
                    resumed = time.perf_counter()
                if folder is not None and (last or self.stopped or 0 < self.config.checkpoint_every_s <= now - saved):
                    self.seconds = seconds_before + time.perf_counter() - started
                    self.save(folder, run)
                    saved = resumed = time.perf_counter()
                if last or self.stopped:
                    break
        self.seconds = seconds_before + time.perf_counter() - started
        images_per_s = (self.step - first) * self.config.batch_size / steps_s if steps_s else 0.0
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        curve = tuple(self.curve)
        return TrainResult(curve[-1].error, curve, images_per_s, self.seconds, self.step, parameters, self.stopped)

    def _train_step(self, images: Tensor, labels: Tensor) -> None:
        set_learning_rate(self.optimizer, self.config.learning_rate * self.schedule(self.step, self.steps))
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast != torch.float32):
            logits = self.model(images)
            taught = None if self.teacher is None else self.teacher.logits(images)
        loss = self._loss(logits, taught, labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.unread.append(loss.detach())
        self.step += 1

    def _loss(self, logits: Tensor, taught: Tensor | None, labels: Tensor) -> Tensor:
        loss = classification_loss(logits, labels, self.config.label_smoothing)
        return loss if self.teacher is None or taught is None else self.teacher.mixed(loss, logits, taught)

    def _read_losses(self) -> float:
        """The mean of the losses that nobody has read; waits for the device. Raises DivergedError."""
        values = torch.stack(self.unread).tolist()
        before = self.step - len(values)
        self.unread.clear()
        for index, value in enumerate(values):
            if not math.isfinite(value):
                step = before + index
                rate = self.config.learning_rate * self.schedule(step, self.steps)
                raise DivergedError(
                    f"training: loss: expected a finite number, got {value} at step {step + 1} of {self.steps}, "
                    f"where the learning rate is {rate:.3g} (try a lower trainer.learning_rate)"
                )
            self.loss_sum += value
            self.loss_steps += 1
        return sum(values) / len(values)

    def _report(self, loss: float, images_per_s: float) -> None:
        eta_s = (self.steps - self.step) * self.config.batch_size / images_per_s
        self.observer.progress(self.step, self.steps, images_per_s, eta_s, loss)
        rate = self.config.learning_rate * self.schedule(self.step - 1, self.steps)
        for name, value in (("loss", loss), ("images_per_s", images_per_s), ("learning_rate", rate)):
            self.observer.scalar(f"train/{name}", value, self.step)

    def _evaluate(self, last: bool, should_stop: Callable[[int, float], bool] | None) -> None:
        """Add a point to the curve; the point where training ends is computed in float32."""
        error = evaluate(self.model, self.validation, autocast=torch.float32 if last else self.autocast)
        if not last and should_stop is not None and should_stop(self.step, error.rate):
            self.stopped = True
            error = evaluate(self.model, self.validation)
        self.curve.append(CurvePoint(self.step, self.loss_sum / self.loss_steps, error))
        self.loss_sum, self.loss_steps = 0.0, 0
        self.observer.scalar("validation/error", error.rate, self.step)
