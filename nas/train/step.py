"""A batch -> one step of the optimiser, and its loss, which stays on the device: nothing here waits for it."""

import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.train.config import TrainConfig
from nas.train.divergence import first_bad_layer
from nas.train.machine.compiled import compiled, compiler_errors
from nas.train.machine.distributed import Group
from nas.train.machine.slow_kernels import without_slow_kernels
from nas.train.options import Options
from nas.train.recipe.ema import Ema
from nas.train.recipe.losses import classification_loss
from nas.train.recipe.mixing import Target, mix
from nas.train.recipe.optimizer import build_optimizer, set_learning_rate
from nas.train.recipe.precision import autocast_dtype
from nas.train.recipe.schedule import factor
from nas.train.recipe.stepper import WholeNetwork
from nas.train.state.parts import ModelPart, OptimizerPart, Parts, ScalerPart, StepperPart


class TrainStep:
    """Trains `model` in place. autocast: the type that it computes in, float32 for none. ema: None where it is off."""

    def __init__(
        self, model: nn.Module, config: TrainConfig, device: torch.device, options: Options, group: Group | None = None
    ) -> None:
        self._config, self._device, self._teacher, self._group = config, device, options.teacher, group or Group()
        self._refuse_what_does_not_go_together(options)
        self.autocast = autocast_dtype(config.precision, device)
        self._optimizer = build_optimizer(
            model, config.optimizer, config.learning_rate, config.weight_decay, config.momentum
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.autocast == torch.float16)
        self._given = options.stepper is not None
        self.stepper = (options.stepper or WholeNetwork)(model, self._optimizer)
        self._model = model
        self._compiled = compiled(model) if config.compile else None
        self.ema = Ema(model, config.ema_decay) if config.ema_decay else None
        if self._teacher is not None:
            self._teacher.network.to(device)

    def parts(self) -> Parts:
        """All that changes, as a checkpoint keeps it; the stepper after what it works on."""
        parts: Parts = {
            "model": ModelPart(self._model),
            "optimizer": OptimizerPart(self._optimizer),
            "scaler": ScalerPart(self._scaler),
            "stepper": StepperPart(self.stepper),
        }
        return parts if self.ema is None else {**parts, "ema": self.ema}

    def kept(self) -> nn.Module:
        """The whole network that counts: the averaged one, where there is one."""
        return self._model if self.ema is None else self.ema.network

    def evaluated(self) -> nn.Module:
        """What of that counts now: all, or what the stepper says."""
        return self.stepper.evaluated(self.kept())

    def learning_rate(self, step: int, steps: int) -> float:
        """Of that step."""
        return self._config.learning_rate * factor(self._config.schedule, self._config.shape, step, steps)

    def __call__(self, step: int, steps: int, images: Tensor, labels: Tensor) -> Tensor:
        """Train one step; the loss is detached."""
        network, optimizer = self.stepper.begin(step, steps)
        set_learning_rate(optimizer, self.learning_rate(step, steps))
        optimizer.zero_grad(set_to_none=True)
        images, target = mix(images, labels, self._config.mix, self._config.seed, step)
        # The whole network is relieved of its slow kernels once and for all by the loop.
        with without_slow_kernels(network) if self._given else compiler_errors():
            loss = self._gradients(network if self._compiled is None else self._compiled, images, target)
        if self._given or self._config.clip_norm:
            self._scaler.unscale_(optimizer)  # a stepper looks at the gradients
        if self._config.clip_norm:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, self._config.clip_norm)
        self._scaler.step(optimizer)
        self._scaler.update()
        self.stepper.end(step, steps)
        if self.ema is not None:
            self.stepper.settle()
            self.ema.update()
        return loss

    def first_bad_layer(self, step: int, steps: int, images: Tensor, labels: Tensor) -> str:
        """What is not finite first at this step, in words, "" for nothing; it is not trained, and spoils statistics."""
        network, _ = self.stepper.begin(step, steps)
        images, target = mix(images, labels, self._config.mix, self._config.seed, step)
        return first_bad_layer(network, lambda: self._loss(network, images, target))

    def _gradients(self, network: nn.Module, images: Tensor, target: Target) -> Tensor:
        """Add up the gradients of this process's share of each part of a batch; the mean loss."""
        parts, processes, rank = self._config.accumulate, self._group.size, self._group.rank
        if parts * processes == 1:
            loss = self._loss(network, images, target)
            self._scaler.scale(loss).backward()
            return loss.detach()
        losses, share = [], images.shape[0] // (parts * processes)
        for start in range(rank * share, images.shape[0], processes * share):
            loss = self._loss(network, images[start : start + share], target.part(start, start + share))
            self._scaler.scale(loss / parts).backward()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        gradients = [weight.grad for weight in self._model.parameters() if weight.grad is not None]
        self._group.average_([mean, *gradients])
        return mean

    def _loss(self, network: nn.Module, images: Tensor, target: Target) -> Tensor:
        with torch.autocast(self._device.type, dtype=self.autocast, enabled=self.autocast != torch.float32):
            logits = network(images)
            taught = None if self._teacher is None else self._teacher.logits(images)
        loss = classification_loss(logits, target, self._config.label_smoothing)
        return loss if self._teacher is None or taught is None else self._teacher.mixed(loss, logits, taught)

    def _refuse_what_does_not_go_together(self, options: Options) -> None:
        config, processes = self._config, self._group.size
        if config.compile and options.stepper is not None:
            raise InputError("trainer", "compile", "false where other networks than the whole one train", "true")
        if processes == 1:
            return
        if config.compile:
            raise InputError("trainer", "compile", "false with several processes", "true")
        if options.stepper is not None:
            raise InputError("trainer", "processes", "one where other networks than the whole one train", processes)
        if config.batch_size % (config.accumulate * processes):
            expected = (
                f"a multiple of {config.accumulate * processes}: accumulate {config.accumulate} x {processes} processes"
            )
            raise InputError("trainer", "batch_size", expected, config.batch_size)
