"""A split on a device -> shuffled, augmented batches on the same device, without a worker process or a copy.

The whole data set is resident (SVHN's training images are 225 MB), so a batch is one gather. Every epoch's order and every
step's augmentation have streams of their own: any (epoch, step) can be entered afresh and gives the same batch.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from nas.core.errors import InputError
from nas.core.seeding import stream_seed
from nas.data.augment import AugmentConfig, augment
from nas.data.source import Split


class Batches:
    """Training batches: images float32 (b, c, size, size) in [0, 1], labels int64 (b). `len` is the steps of an epoch."""

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        augment: AugmentConfig | None = None,
        drop_last: bool = True,
        channels_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise InputError("batches", "batch_size", "at least 1", batch_size)
        if len(split) < (batch_size if drop_last else 1):
            raise InputError("batches", "images", f"at least one batch of {batch_size}", len(split))
        self._split, self._batch_size, self._seed, self._augment = split, batch_size, seed, augment
        self._drop_last, self._channels_last = drop_last, channels_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self._split), self._batch_size)
        return whole + (rest > 0 and not self._drop_last)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of `epoch` from `start_step` on; nothing in the loop waits for the device."""
        images, labels = self._split.images, self._split.labels
        # Drawn on the CPU: the order is then the same on every device.
        shuffler = torch.Generator().manual_seed(stream_seed(self._seed, "data", epoch))
        order = _sent(torch.randperm(len(self._split), generator=shuffler), images.device)
        generator = torch.Generator(images.device)
        for step in range(start_step, len(self)):
            chosen = order[step * self._batch_size : (step + 1) * self._batch_size]
            batch = images.index_select(0, chosen)
            if self._augment is not None:
                generator.manual_seed(stream_seed(self._seed, "augment", epoch, step))
                batch = augment(batch, self._augment, generator)
            yield _to_float(batch, self._channels_last), labels.index_select(0, chosen)


def evaluation_batches(split: Split, batch_size: int, channels_last: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, the last batch as short as it comes; images and labels as in `Batches`."""
    if batch_size < 1:
        raise InputError("batches", "batch_size", "at least 1", batch_size)
    for start in range(0, len(split), batch_size):
        batch = split.take(start, start + batch_size)
        yield _to_float(batch.images, channels_last), batch.labels


def _sent(order: Tensor, device: torch.device) -> Tensor:
    """`order` on `device`; only from pinned memory does a copy to CUDA not wait for all that was asked of it before."""
    return order.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else order.to(device)


def _to_float(images: Tensor, channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.to(torch.float32, memory_format=layout).div_(255.0)
