"""Scalars of a run -> event files that TensorBoard reads."""

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter


class TensorBoardObserver:
    """Watches a training (`nas.train.observer.Observer`) and writes what it is told into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder))

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of the curve `name`."""
        self._writer.add_scalar(name, value, step)

    def progress(self, step: int, steps: int, images_per_s: float, eta_s: float, loss: float) -> None:
        """Progress is for the terminal; the same values come as scalars."""

    def close(self) -> None:
        """Write out what is still in memory."""
        self._writer.close()

    def __enter__(self) -> "TensorBoardObserver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
