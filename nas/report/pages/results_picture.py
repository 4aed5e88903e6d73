"""`Results` -> a picture: a row for each network, a panel for each data set, a dot for each seed, the mean with its interval.

The error is in percent, on a logarithmic axis, so that equal ratios are equally far apart.
"""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from nas.report.figure import MAIN, OTHER, new_figure, save_figure, without_frame
from nas.report.pages.results import Results, mean_error

_TICKS = [unit * each for unit in (0.1, 1, 10) for each in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]  # percent


def results_figure(results: Results) -> Figure:
    """The picture."""
    rows = list(results.networks)
    figure = new_figure(4.2 * len(results.data) + 1.5, 0.42 * len(rows) + 1.2)
    panels = figure.subplots(1, len(results.data), sharey=True, squeeze=False)[0]
    for panel, data in zip(panels, results.data, strict=True):
        _draw(panel, results, data)
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].invert_yaxis()
    return figure


def save_results_picture(path: Path, results: Results) -> None:
    """Write the picture as a PNG."""
    save_figure(path, results_figure(results))


def _draw(axes: Axes, results: Results, data: str) -> None:
    for place, network in enumerate(results.networks):
        runs = results.of(data, network)
        mean = mean_error(runs)
        axes.plot([100 * run.error_rate for run in runs], [place] * len(runs), "o", color=OTHER, markersize=4)
        half = 0.0 if math.isnan(mean.half) else min(mean.half, 0.95 * mean.value)  # a logarithm has no zero
        axes.errorbar(
            100 * mean.value,
            place,
            xerr=[[100 * half], [100 * mean.half if half else 0.0]],
            fmt="D",
            color=MAIN,
            capsize=3,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("test error, %")
    axes.set_title(data, loc="left", fontsize=11)
    axes.grid(True, axis="x", alpha=0.25)
    without_frame(axes)
