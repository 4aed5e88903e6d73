"""The progress of a training -> one line in the terminal that moves, or a few plain ones in a log file."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LOADING = "data: loading, or drawing it the first time ..."  # what a terminal says while it waits
PLANNING = "looking at what networks need on this processor ..."
COMPILING = "compiling, checking and simulating ..."
_PLAIN_LINES = 20  # that a whole training leaves where there is no terminal


class TerminalObserver:
    """Watches a training (`nas.train.observer.Observer`); a context manager, so that the cursor comes back."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=None, numbers="")
        self._step, self._next_line = 0, 0.0

    def scalar(self, name: str, value: float, step: int) -> None:
        """Errors are worth a line of their own; the rest is TensorBoard's."""
        if name.endswith("/error"):
            self._console.print(f"step {step:>6}  {name} {value:.2%}", highlight=False)

    def progress(self, step: int, steps: int, images_per_s: float, eta_s: float, loss: float) -> None:
        """Move the bar, or print a line each twentieth of the way."""
        if step <= self._step:  # another training, such as that of the network that was cut
            self._next_line = 0.0
        self._step = step
        numbers = f"loss {loss:.3f}  {images_per_s:,.0f} images/s  ETA {_clock(eta_s)}"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=step, total=steps, numbers=numbers)
        elif step >= self._next_line:
            self._console.print(f"step {step:>6} of {steps}  {numbers}", highlight=False)
            self._next_line = step + steps / _PLAIN_LINES

    def __enter__(self) -> "TerminalObserver":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
