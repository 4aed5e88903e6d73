"""Channels of a trained network -> the loss of a network of these after a short training.

The training is a whole one, of fewer steps: right after a cut the loss tells how much is broken, not what can be learnt.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from nas.data.load import Data
from nas.data.loader import evaluation_batches
from nas.data.source import Split
from nas.quota.groups import Groups
from nas.quota.slices import Keep
from nas.quota.slim import slim
from nas.train.config import TrainConfig
from nas.train.observer import Observer
from nas.train.options import Options
from nas.train.precision import autocast_dtype
from nas.train.trainer import train

_BATCH = 256


class TryOut:
    """A `TriedOut` of `network`, which stays as it is."""

    def __init__(
        self, network: nn.Module, groups: Groups, data: Data, trainer: TrainConfig, observer: Observer | None = None
    ) -> None:
        self._network, self._groups, self._data = network, groups, data
        self._trainer, self._observer = trainer, observer

    def __call__(self, keep: Keep, share: float) -> float:
        """The mean loss of the pictures for validation, after that share of the trainer's steps."""
        data = self._data
        small = slim(self._network, self._groups, keep, (1, data.channels, data.size_px, data.size_px))
        short = dataclasses.replace(
            self._trainer, epochs=self._trainer.epochs * share, evaluate_every_epochs=0, checkpoint_every_s=0
        )
        options = Options() if self._observer is None else Options(observer=_Progress(self._observer))
        train(small, data.train, data.validation.take(0, 1), short, options=options)
        return mean_loss(small, data.validation if len(data.validation) else data.train, short)


class _Progress:
    """Shows an observer how far a training is; what it measures is not of the run that is observed."""

    def __init__(self, observer: Observer) -> None:
        self.progress = observer.progress

    def scalar(self, name: str, value: float, step: int) -> None:
        """Nothing."""


def mean_loss(network: nn.Module, images: Split, config: TrainConfig) -> float:
    """The cross-entropy, in evaluation mode and in the type that `config` trains in."""
    device = images.labels.device
    autocast = autocast_dtype(config.precision, device)
    network.eval()
    total = torch.zeros((), dtype=torch.float64, device=device)
    with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast != torch.float32):
        for pixels, labels in evaluation_batches(images, _BATCH, channels_last=True):
            total += F.cross_entropy(network(pixels).float(), labels, reduction="sum").double()
    return float(total) / len(images)
