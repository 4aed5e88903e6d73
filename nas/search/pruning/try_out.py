"""Channels of a trained network -> what a network of these gets wrong after a short training.

The training is a whole one, of fewer steps: right after a cut errors tell how much is broken, not what can be learnt.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nas.data.load import Data
from nas.quota.channels.groups import Groups
from nas.quota.channels.slices import Keep
from nas.quota.channels.slim import slim
from nas.train.config import TrainConfig
from nas.train.observer import Observer
from nas.train.options import Options
from nas.train.recipe.metrics import mistaken
from nas.train.recipe.precision import autocast_dtype
from nas.train.trainer import train


class TryOut:
    """A `TriedOut` of `network`, which stays as it is."""

    def __init__(
        self, network: nn.Module, groups: Groups, data: Data, trainer: TrainConfig, observer: Observer | None = None
    ) -> None:
        self._network, self._groups, self._data = network, groups, data
        self._trainer, self._observer = trainer, observer

    def __call__(self, keep: Keep, share: float) -> NDArray[np.bool_]:
        """Which pictures for validation are taken for something else, after that share of the trainer's steps."""
        data = self._data
        small = slim(self._network, self._groups, keep, (1, data.channels, data.size_px, data.size_px))
        short = dataclasses.replace(
            self._trainer, epochs=self._trainer.epochs * share, evaluate_every_epochs=0, checkpoint_every_s=0
        )
        options = Options() if self._observer is None else Options(observer=_Progress(self._observer))
        train(small, data.train, data.nearly_none, short, options=options)
        autocast = autocast_dtype(self._trainer.precision, data.train.labels.device)
        return mistaken(small, data.put_aside, autocast=autocast).cpu().numpy()


class _Progress:
    """Shows an observer how far a training is; what it measures is not of the run that is observed."""

    def __init__(self, observer: Observer) -> None:
        self.progress = observer.progress

    def scalar(self, name: str, value: float, step: int) -> None:
        """Nothing."""
