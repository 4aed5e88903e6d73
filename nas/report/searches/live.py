"""A running search -> the terminal: a bar, what runs now, a small plot, the present front; or plain lines where there is no terminal."""

import math
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.report.searches.search_table import front_table, summary
from nas.search.running.best import front
from nas.search.running.supervise import Progress
from nas.search.trials.objective import Reference
from nas.search.trials.record import Record
from nas.search.trials.space import Space

_PLOT_COLUMNS, _PLOT_ROWS = 56, 11
_SHOWN = 8  # rows of the front and recent trials


class LiveView:
    """Watches a search (`nas.search.running.supervise.Watcher`); a context manager, so that the cursor comes back."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._space: Space | None = None
        self._notes = 0
        self._before = 0  # networks that an earlier run had trained, for the time to go
        self._began = False
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def tick(self, progress: Progress, new: Sequence[Record]) -> None:
        """Show what is new."""
        self._space = self._space or Space(progress.plan.space)
        if not self._began:
            self._began, self._before = True, progress.trained
        lines = (
            [self._line(progress, record) for record in new] if progress.elapsed_s > 0.5 or len(new) < _SHOWN else []
        )
        if lines and self._live is None:  # a terminal has it in the head
            lines[-1].append(f"  ({self._how_far(progress)})")
        lines += [Text(f"! {note}", style="yellow") for note in progress.notes[self._notes :]]
        self._notes = len(progress.notes)
        for line in lines:
            self._console.print(line, highlight=False, soft_wrap=True)
        if self._live is not None:
            self._live.update(self._screen(progress))

    def _line(self, progress: Progress, record: Record) -> Text:
        on_front = record.number in {other.number for other in front(progress.records, progress.plan.reference)}
        styles = {"failed": "red", "rejected": "dim", "stopped": "dim"}
        mark = "*" if on_front else " "
        text = f"{mark} {record.number:>3}  {summary(record)}  {record.origin}"
        return Text(text, style="bold green" if on_front else styles.get(record.state, ""))

    def _screen(self, progress: Progress) -> RenderableType:
        assert self._space is not None
        records, reference = progress.records, progress.plan.reference
        return Group(self._head(progress), scatter(records, reference), front_table(records, self._space, reference))

    def _head(self, progress: Progress) -> RenderableType:
        counts = {state: sum(record.state == state for record in progress.records) for state in ("rejected", "failed")}
        grid = Table.grid(padding=(0, 1))
        done, total = progress.trained, progress.plan.trials
        words = [self._how_far(progress), *(f"{count} {state}" for state, count in counts.items() if count)]
        bar = ProgressBar(total=total, completed=done, width=30)
        grid.add_row(Text(self._title, style="bold"), bar, Text(", ".join(words)))
        now = "  ".join(f"{lease.worker}: trial {lease.number}" for lease in progress.running) or (
            "starting workers ..." if progress.trained < progress.plan.trials else "all done"
        )
        return Group(Text(), grid, Text(f"now  {now}", style="dim"))

    def _how_far(self, progress: Progress) -> str:
        return f"{progress.trained} of {progress.plan.trials} trained, {_clock(progress.elapsed_s)}{self._time_to_go(progress)}"

    def _time_to_go(self, progress: Progress) -> str:
        fresh = progress.trained - self._before
        if fresh < 2 or progress.trained >= progress.plan.trials:
            return ""
        return f", about {_clock((progress.plan.trials - progress.trained) * progress.elapsed_s / fresh)} to go"

    def __enter__(self) -> "LiveView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def scatter(
    records: Sequence[Record], reference: Reference, columns: int = _PLOT_COLUMNS, rows: int = _PLOT_ROWS
) -> Text:
    """Error (up) against the logarithm of latency (right) in characters: · evaluated, ● on the front."""
    chosen = {record.number for record in front(records, reference)}
    placed = [(*record.point, record.number in chosen) for record in records if record.point is not None]
    if len(placed) < 2:
        return Text()
    errors, speeds = [error for error, *_ in placed], [math.log(max(latency_s, 1e-12)) for _, latency_s, _ in placed]
    grid = [[" "] * columns for _ in range(rows)]
    for error, latency_s, best in sorted(placed, key=lambda item: item[2]):
        column = _cell(math.log(max(latency_s, 1e-12)), speeds, columns)
        grid[rows - 1 - _cell(error, errors, rows)][column] = "●" if best else "·"
    text = Text()
    for index, line in enumerate(grid):
        label = f"{max(errors):6.1%}" if index == 0 else f"{min(errors):6.1%}" if index == rows - 1 else " " * 6
        text.append(f"{label} │", style="dim")
        for character in "".join(line):
            text.append(character, style="bold green" if character == "●" else "")
        text.append("\n")
    ends = [f"{math.exp(end) * 1e6:.0f} µs" for end in (min(speeds), max(speeds))]
    text.append(
        " " * 7 + "└" + "─" * columns + "\n" + " " * 8 + ends[0] + ends[1].rjust(columns - len(ends[0])), style="dim"
    )
    return text


def _cell(value: float, values: Sequence[float], cells: int) -> int:
    low, high = min(values), max(values)
    return round((value - low) / (high - low) * (cells - 1)) if high > low else 0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
