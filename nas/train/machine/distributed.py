"""Several processes, started by torchrun -> one training: the same batches, weights and results as in one process.

    torchrun --nproc-per-node 2 scripts/train.py ...

Every process forms the same global batch and computes its share of it; gradients are averaged, and the statistics of batch
norms are those of all shares together (`nas.train.machine.shared_batch_norm`). What a network draws from torch's own generator, as
dropout does, differs from process to process. The first process alone writes and tells.

gloo joins CPUs, nccl CUDA devices, one to a process. Nothing is pickled between them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from nas.core.errors import InputError
from nas.train.machine.device import device_of


@dataclass(frozen=True)
class Group:
    """The process `rank` of `size`, and the device whose tensors it exchanges. One alone exchanges nothing."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and tells how it goes."""
        return self.rank == 0

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Each of `tensors`, all of one type, becomes its mean over the processes; one message for all of them."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def sum_(self, tensor: Tensor) -> Tensor:
        """`tensor` becomes its sum over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def as_first_(self, tensors: Sequence[Tensor]) -> None:
        """Each of `tensors` becomes what the first process has."""
        if self.size == 1:
            return
        for tensor in tensors:
            same = tensor.detach().to(self.device, memory_format=torch.contiguous_format)
            dist.broadcast(same, 0)
            tensor.detach().copy_(same)

    def decided(self, choice: bool) -> bool:
        """What the first process chose."""
        told = torch.tensor([choice], dtype=torch.uint8)
        self.as_first_([told])
        return bool(told)

    def bytes_of_first(self, data: bytes) -> bytes:
        """The bytes that the first process has; those of the others do not count."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)])
        self.as_first_([length])
        sent = torch.frombuffer(bytearray(data), dtype=torch.uint8) if self.is_first and data else None
        content = torch.zeros(int(length), dtype=torch.uint8) if sent is None else sent
        self.as_first_([content])
        return content.numpy().tobytes()


def current_group() -> Group:
    """That of this process, as `processes` joined it."""
    if not (dist.is_available() and dist.is_initialized()):
        return Group()
    on_gpu = dist.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    return Group(dist.get_rank(), dist.get_world_size(), device)


@contextmanager
def processes(device: str) -> Iterator[Group]:
    """Inside the block the processes that torchrun started are joined; without torchrun this one is alone.

    device: as in the trainer's configuration; with CUDA each process takes the one of its number on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group()
        return
    chosen = device_of(device)
    if chosen.type not in ("cpu", "cuda"):
        raise InputError("trainer", "device", "cpu or cuda for several processes", repr(device))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield current_group()
    finally:
        dist.destroy_process_group()
