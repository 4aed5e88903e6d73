"""Records of a search -> a picture of error against latency: every trained network, the front, and the one to compare with.

Latency is logarithmic in microseconds, error in percent; whiskers are 95 % intervals. Errors above the reference point's are
left out: one network that has learnt nothing would leave no room for the others.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from nas.report.figure import MAIN, OTHER, new_figure, save_figure, without_frame
from nas.search.running.best import front
from nas.search.trials.objective import Reference
from nas.search.trials.record import Record

_LABELS = ((3, range(1, 10)), (30, (1, 1.5, 2, 3, 4, 6)), (200, (1, 2, 5)))  # up to a ratio of ends, labelled digits


def front_figure(
    records: Sequence[Record],
    others: Sequence[Record],
    reference: Reference,
    title: str = "",
    size_inches: tuple[float, float] = (7.5, 5.0),
) -> Figure:
    """The picture; `others` are the random networks of equal budget, drawn in grey behind."""
    figure = new_figure(*size_inches)
    axes = figure.add_subplot()
    by_key = {record.key: record.point for record in (*records, *others)}  # those that both have are one
    points = [point for point in by_key.values() if point is not None]
    if not points:
        axes.text(0.5, 0.5, "no network evaluated yet", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return figure
    errors, latencies_us = [100 * error for error, _ in points], [1e6 * latency_s for _, latency_s in points]
    if others:
        _draw(axes, others, reference, OTHER, "random", 1.25 * max(latencies_us))
    if records:
        _draw(axes, records, reference, MAIN, "search", 1.25 * max(latencies_us))
    axes.set_xscale("log")
    axes.set_xlim(min(latencies_us) / 1.15, 1.25 * max(latencies_us))
    _label_latencies(axes)
    _leave_out_above(axes, errors, 100 * reference.error)
    axes.set_xlabel("simulated latency, µs")
    axes.set_ylabel("validation error, %")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major", alpha=0.25)
    without_frame(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def save_front(
    path: Path, records: Sequence[Record], others: Sequence[Record], reference: Reference, title: str = ""
) -> None:
    """Write the picture as a PNG."""
    save_figure(path, front_figure(records, others, reference, title))


def _label_latencies(axes: Axes) -> None:
    """Plain numbers, as many as there is room for."""
    low, high = axes.get_xlim()
    digits = next((digits for ratio, digits in _LABELS if high / low <= ratio), (1,))
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [digit * 10.0**decade for decade in decades for digit in digits]
    axes.set_xticks([place for place in places if low <= place <= high], minor=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.minorticks_off()


def _leave_out_above(axes: Axes, errors: Sequence[float], most: float) -> None:
    above = sum(error > most for error in errors)
    if not 0 < above < len(errors):
        return
    axes.set_ylim(top=most)
    axes.set_ylim(bottom=_bottom([error for error in errors if error <= most], most))
    note = f"{above} above {most:g} % not shown"
    axes.annotate(
        note,
        (0.01, 0.99),
        xycoords="axes fraction",
        ha="left",
        va="top",
        fontsize=8,
        color=OTHER,
        annotation_clip=False,
    )


def _bottom(errors: Sequence[float], most: float) -> float:
    return max(0.0, min(errors) - 0.12 * (most - min(errors)))


def _draw(
    axes: Axes, records: Sequence[Record], reference: Reference, colour: str, name: str, slowest_us: float
) -> None:
    best = front(records, reference)
    chosen = {record.number for record in best}
    rest = [record.point for record in records if record.point is not None and record.number not in chosen]
    if rest:
        axes.scatter(
            [latency_s * 1e6 for _, latency_s in rest],
            [100 * error for error, _ in rest],
            s=16,
            color=colour,
            alpha=0.35,
            lw=0,
            label=f"{name}: {len(rest)} behind the front",
        )
    points = [record.point for record in best if record.point is not None]
    if not points:
        return
    latencies, errors = [latency_s * 1e6 for _, latency_s in points], [100 * error for error, _ in points]
    lows = [record.error_low if record.error_low is not None else record.error for record in best]
    highs = [record.error_high if record.error_high is not None else record.error for record in best]
    reach = np.abs(100 * np.array([lows, highs], dtype=float) - errors)
    axes.step([*latencies, slowest_us], [*errors, errors[-1]], where="post", color=colour, lw=1.4)
    label = f"{name}: {len(points)} on the front, with 95 % intervals"
    axes.errorbar(latencies, errors, yerr=reach, fmt="o", ms=5, color=colour, elinewidth=0.8, label=label)
