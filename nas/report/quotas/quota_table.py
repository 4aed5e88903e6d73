"""A pruning run -> the table of the publication: widths, training steps per second, error, share of channels, latency."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from nas.search.pruning.pruning import PruneResult, Row

_FILE_COLUMNS = 160
_MOST_WIDTHS = 8  # of more groups, the table tells the ends


def quota_table(result: PruneResult, processor: str) -> Table:
    """A line for the whole network and one for the slim one, with what the second is beside the first."""
    table = Table(box=None, pad_edge=False, title_justify="left")
    for title in ("network", "widths"):
        table.add_column(title)
    for title in ("steps/s", "error, 95 % interval", "channels", "parameters", f"latency on {processor}"):
        table.add_column(title, justify="right", no_wrap=True)
    whole = result.whole
    for row in (whole, result.slim):
        faster = row.steps_per_s / whole.steps_per_s
        table.add_row(
            row.name,
            widths_text(row.widths),
            f"{row.steps_per_s:.1f}" + (f" ({faster:.2f}x)" if row is not whole else ""),
            _error(row),
            f"{row.share:.0%}",
            f"{row.parameters:,}",
            _latency(row, whole),
        )
    return table


def print_quota_table(result: PruneResult, processor: str, console: Console) -> None:
    """The table, wide enough where there is no terminal to fit it to."""
    if not console.is_terminal:
        console.width = _FILE_COLUMNS
    console.print(quota_table(result, processor))


def widths_text(widths: Sequence[int]) -> str:
    """All of them, or the first and the last of many."""
    if len(widths) <= _MOST_WIDTHS:
        return " ".join(map(str, widths))
    half = _MOST_WIDTHS // 2
    shown = [*map(str, widths[:half]), "...", *map(str, widths[-half:])]
    return f"{' '.join(shown)} ({len(widths)} groups)"


def _error(row: Row) -> str:
    return f"{row.error.rate:.2%} ({row.error.low:.2%} to {row.error.high:.2%})"


def _latency(row: Row, whole: Row) -> str:
    if row.latency_s is None:
        return "does not fit"
    faster = f" ({whole.latency_s / row.latency_s:.2f}x)" if row is not whole and whole.latency_s else ""
    return f"{row.latency_s * 1e6:,.0f} us{faster}"
