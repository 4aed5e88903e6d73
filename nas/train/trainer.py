"""A network, images and a `TrainConfig` -> the trained network and its `TrainResult`.

The same seed gives the same curve and weights, also across a kill and a resume: on a CPU bit for bit. The loop never
waits for the device but about once a second, when it reports, checks for divergence, and saves if it is time to.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.seeding import stream_seed
from nas.data.loader import Batches
from nas.data.source import Split
from nas.train.config import TrainConfig
from nas.train.divergence import LastGood
from nas.train.machine.distributed import current_group
from nas.train.machine.kept_memory import kept_memory
from nas.train.machine.shared_batch_norm import shared_batch_norms
from nas.train.machine.slow_kernels import without_slow_kernels
from nas.train.observer import Observers
from nas.train.options import Options
from nas.train.recipe.early_stop import EarlyStop
from nas.train.recipe.metrics import evaluate
from nas.train.state.random_state import RandomPart
from nas.train.state.result import CurvePoint, DivergedError, TrainResult
from nas.train.state.session import Session
from nas.train.step import TrainStep

_REPORT_EVERY_S = 1.0
_KEEP_EVERY_S = 10.0  # so many seconds are repeated to find the layer that diverged


def train(
    model: nn.Module,
    data_train: Split,
    data_validation: Split,
    config: TrainConfig,
    folder: Path | None = None,
    options: Options | None = None,
) -> TrainResult:
    """Train `model` in place, on the device of `data_train`.

    folder: for checkpoints; one that is there already is resumed, and must be of the same run. Raises DivergedError
    with the step and the layer, InputError for data or checkpoints that do not fit.
    """
    return _Trainer(model, data_train, data_validation, config, options or Options()).start(folder)


class _Trainer:
    """One call of `train`."""

    def __init__(
        self, model: nn.Module, data_train: Split, data_validation: Split, config: TrainConfig, options: Options
    ) -> None:
        self.config, self.validation, self.options = config, data_validation, options
        self.group = current_group()
        self.observer = options.observer if self.group.is_first else Observers()
        self.device = device = data_train.images.device
        seed, channels_last = stream_seed(config.seed, "batches"), config.channels_last is not False
        self.batches = Batches(data_train, config.batch_size, seed, config.augment, channels_last=channels_last)
        self.steps = max(1, round(config.epochs * len(self.batches)))
        every = config.evaluate_every_epochs
        self.evaluate_every = max(1, round(every * len(self.batches))) if every else self.steps
        if not len(data_validation):
            raise InputError("data", "validation_images", "at least 1, to evaluate the training on", 0)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
        self.group.as_first_([*self.model.parameters(), *self.model.buffers()])
        self.random = RandomPart(device, self.group.rank)
        self.train_step = TrainStep(self.model, config, device, options, self.group)
        self.parts = {**self.train_step.parts(), "rng": self.random}
        self.early_stop: EarlyStop | None = None
        if config.early_stop.evaluations:
            self.early_stop = EarlyStop(self.train_step.kept(), config.early_stop)
            self.parts["best"] = self.early_stop
        self.session = Session()

    def start(self, folder: Path | None) -> TrainResult:
        """Train from the beginning, or from the checkpoint of `folder`, to the end."""
        with self.random.seeded(self.config.seed):
            run = self.identity()
            if folder is not None:
                self.session.resume(folder, run, self.parts, self.group)
            # A stepper may copy the network, which must then be as it is; its own are relieved step by step.
            with (
                kept_memory() if self.device.type == "cpu" else nullcontext(),
                without_slow_kernels(self.model) if self.options.stepper is None else nullcontext(),
                shared_batch_norms(self.model, self.group),
            ):
                images_per_s = self.loop(folder, run)
        return self.result(images_per_s)

    def result(self, images_per_s: float) -> TrainResult:
        """The weights that count, in the model, and what is to be told of them."""
        session, curve = self.session, tuple(self.session.curve)
        error = curve[-1].error
        if self.early_stop is not None:
            self.model.load_state_dict(self.early_stop.best())
            error = evaluate(self.model, self.validation, group=self.group)
        elif self.train_step.ema is not None:
            self.model.load_state_dict(self.train_step.ema.network.state_dict())
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return TrainResult(
            error,
            curve,
            images_per_s,
            session.time.seconds,
            session.step,
            parameters,
            session.stopped,
            session.time.processor_s,
        )

    def identity(self) -> dict[str, Any]:
        """What two sessions of one run have in common."""
        network = hashlib.sha256(str(self.model).encode()).hexdigest()[:16]
        teacher, stepper = self.options.teacher, self.options.stepper
        taught = {} if teacher is None else {"teacher": teacher.identity()}
        stepped = {} if stepper is None else {"stepper": self.train_step.stepper.identity()}
        run = {**self.config.identity(), **taught, **stepped, "steps": self.steps, "network": network}
        return msgspec.json.decode(msgspec.json.encode(run))  # as it will be read from the checkpoint

    def loop(self, folder: Path | None, run: dict[str, Any]) -> float:
        """Train from the present step to the last; the images per second of the steps alone."""
        session = self.session
        self.model.train()
        last_good = LastGood(self.parts, session.step)
        running = session.step < self.steps and not session.stopped
        first, steps_s = session.step, 0.0
        reported = saved = kept = resumed = time.perf_counter()
        for images, labels in self.batches_from(session.step) if running else ():
            session.note(self.train_step(session.step, self.steps, images, labels))
            last, now = session.step == self.steps, time.perf_counter()
            evaluates = last or session.step % self.evaluate_every == 0
            if not evaluates and now - reported < _REPORT_EVERY_S:
                continue
            loss = self.read_losses(last_good)
            self.train_step.stepper.settle()
            now = time.perf_counter()  # reading waited for the device
            steps_s, resumed, reported = steps_s + now - resumed, now, now
            self.report(loss, (session.step - first) * self.config.batch_size / steps_s)
            if evaluates:
                self.evaluate(last)
            if folder is not None and (last or session.stopped or 0 < self.config.checkpoint_every_s <= now - saved):
                if self.group.is_first:
                    session.save(folder, run, self.parts)
                saved = now
            if now - kept >= _KEEP_EVERY_S and self.group.size == 1:
                last_good.keep(session.step)
                kept = now
            if last or session.stopped:
                break
            resumed = time.perf_counter()
        session.time.lap()
        return (session.step - first) * self.config.batch_size / steps_s if steps_s else 0.0

    def batches_from(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of that step and of all after it, without end."""
        while True:
            epoch, start = divmod(step, len(self.batches))
            yield from self.batches.epoch(epoch, start)
            step += len(self.batches) - start

    def read_losses(self, last_good: LastGood) -> float:
        """The mean loss since the last call; waits for the device. Raises DivergedError."""
        loss, bad = self.session.read()
        if bad is None:
            return loss
        step, value = bad
        rate = self.train_step.learning_rate(step, self.steps)
        began = self.where_it_began(last_good, step)
        raise DivergedError(
            f"training: loss: expected a finite number, got {value} at step {step + 1} of {self.steps}, "
            f"where the learning rate is {rate:.3g}{began and ': '}{began} (try a lower trainer.learning_rate)"
        )

    def where_it_began(self, last_good: LastGood, bad: int) -> str:
        """Which layer was the first with a number that is not finite, by repeating the steps to `bad`.

        Several processes notice at different times, and so can repeat nothing together.
        """
        if self.group.size > 1:
            return "one process alone finds the layer"
        step = last_good.restore()
        for images, labels in self.batches_from(step):
            if step == bad:
                return self.train_step.first_bad_layer(step, self.steps, images, labels)
            self.train_step(step, self.steps, images, labels)
            step += 1
        return ""

    def report(self, loss: float, images_per_s: float) -> None:
        """Tell the observer."""
        step, observer = self.session.step, self.observer
        observer.progress(
            step, self.steps, images_per_s, (self.steps - step) * self.config.batch_size / images_per_s, loss
        )
        rate = self.train_step.learning_rate(step - 1, self.steps)
        for name, value in (("loss", loss), ("images_per_s", images_per_s), ("learning_rate", rate)):
            observer.scalar(f"train/{name}", value, step)

    def evaluate(self, last: bool) -> None:
        """Add a point to the curve; the point where training ends is computed in float32."""
        session, should_stop, network = self.session, self.options.should_stop, self.train_step.evaluated()
        with without_slow_kernels(network):
            precision = torch.float32 if last else self.train_step.autocast
            error = evaluate(network, self.validation, autocast=precision, group=self.group)
            stop = should_stop is not None and not last and should_stop(session.step, error.rate)
            if self.early_stop is not None:
                stop |= self.early_stop.should_stop(error.rate)
            if not last and self.group.decided(stop):
                session.stopped = True
                error = evaluate(network, self.validation, group=self.group)
        session.curve.append(CurvePoint(session.step, session.loss_sum / session.loss_steps, error))
        session.loss_sum, session.loss_steps = 0.0, 0
        self.observer.scalar("validation/error", error.rate, session.step)
