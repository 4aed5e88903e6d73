"""Records of a search -> a picture of error against latency: every trained network, the front, and the one to compare with.

Latency is logarithmic in microseconds, error in percent; whiskers are 95 % intervals.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from nas.report.figure import MAIN, OTHER, new_figure, save_figure, without_frame
from nas.search.running.best import front
from nas.search.trials.record import Record


def front_figure(
    records: Sequence[Record],
    others: Sequence[Record] = (),
    title: str = "",
    size_inches: tuple[float, float] = (7.5, 5.0),
) -> Figure:
    """The picture; `others` are the random networks of equal budget, drawn in grey behind."""
    figure = new_figure(*size_inches)
    axes = figure.add_subplot()
    everything = [record for record in (*records, *others) if record.point is not None]
    if not everything:
        axes.text(0.5, 0.5, "no network evaluated yet", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return figure
    slowest = max(record.point[1] for record in everything if record.point is not None) * 1.25e6
    if others:
        _draw(axes, others, OTHER, "random", slowest)
    if records:
        _draw(axes, records, MAIN, "search", slowest)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("simulated latency, µs")
    axes.set_ylabel("validation error, %")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major", alpha=0.25)
    without_frame(axes)
    axes.legend(frameon=False)
    return figure


def save_front(path: Path, records: Sequence[Record], others: Sequence[Record] = (), title: str = "") -> None:
    """Write the picture as a PNG."""
    save_figure(path, front_figure(records, others, title))


def _draw(axes: Axes, records: Sequence[Record], colour: str, name: str, slowest_us: float) -> None:
    best = front(records)
    chosen = {record.number for record in best}
    rest = [record.point for record in records if record.point is not None and record.number not in chosen]
    axes.scatter(
        [latency_s * 1e6 for _, latency_s in rest],
        [100 * error for error, _ in rest],
        s=16,
        color=colour,
        alpha=0.35,
        lw=0,
    )
    points = [record.point for record in best if record.point is not None]
    if not points:
        return
    latencies, errors = [latency_s * 1e6 for _, latency_s in points], [100 * error for error, _ in points]
    reach = [
        [
            100 * ((record.error or 0) - (record.error_low if record.error_low is not None else record.error or 0))
            for record in best
        ],
        [
            100 * ((record.error_high if record.error_high is not None else record.error or 0) - (record.error or 0))
            for record in best
        ],
    ]
    axes.step([*latencies, slowest_us], [*errors, errors[-1]], where="post", color=colour, lw=1.4)
    axes.errorbar(
        latencies,
        errors,
        yerr=reach,
        fmt="o",
        ms=5,
        color=colour,
        elinewidth=0.8,
        label=f"{name}: {len(points)} on the front",
    )
