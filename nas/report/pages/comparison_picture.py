"""`Comparison` -> a picture: a panel for each operating point, a row for each method, a dot for each seed, the mean with its interval.

All panels have one scale, so that a tenth of a point looks alike in all of them.
"""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.report.figure import ACCENT, MAIN, OTHER, new_figure, save_figure, without_frame
from nas.report.pages.comparison import CURRENCY, Comparison, mean_error
from nas.search.pruning.prune_compare import Point, PruneRecord

_QUOTA = "quota"
_MOST = 1.15  # errors over so many times the least of a panel are not drawn, but told


def comparison_figure(comparison: Comparison) -> Figure:
    """Errors in percent; a hollow mean is of one seed. What is far off the least of its panel is told at the edge."""
    methods = list(dict.fromkeys(record.method for record in comparison.records if record.point))
    figure = new_figure(3.4 * len(comparison.points) + 1.6, 0.36 * len(methods) + 1.4)
    panels = figure.subplots(1, len(comparison.points), sharey=True, squeeze=False)[0]
    ranges = [_range(comparison, point.name, methods) for point in comparison.points]
    width = max(high - low for low, high in ranges) or 1.0  # a percent, where all errors are the same
    for panel, point, (low, _) in zip(panels, comparison.points, ranges, strict=True):
        panel.set_xlim(low, low + width)
        _draw(panel, comparison, point, methods)
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].set_ylim(len(methods) - 0.5, -1.2)
    return figure


def save_comparison_picture(path: Path, comparison: Comparison) -> None:
    """Write the picture as a PNG."""
    save_figure(path, comparison_figure(comparison))


def _errors(records: list[PruneRecord]) -> list[float]:
    return [100 * record.error.rate for record in records]


def _range(comparison: Comparison, point: str, methods: list[str]) -> tuple[float, float]:
    """The percents from the whole network or the least error to the largest that is drawn, with some room."""
    least = 100 * mean_error(comparison.of(point, comparison.methods(point)[0])).value
    errors = [error for method in methods for error in _errors(comparison.of(point, method)) if error <= _MOST * least]
    errors += _errors(comparison.whole())
    low, high = min(errors), max(errors)
    return low - 0.05 * (high - low), high + 0.12 * (high - low)


def _draw(axes: Axes, comparison: Comparison, point: Point, methods: list[str]) -> None:
    edge = axes.get_xlim()[1]
    for place, method in enumerate(methods):
        records = comparison.of(point.name, method)
        if not records:
            continue
        mean, colour = mean_error(records), ACCENT if method == _QUOTA else MAIN
        if 100 * mean.value > edge:
            axes.annotate(f"{100 * mean.value:.1f} →", (edge, place), ha="right", va="center", color=colour)
            continue
        axes.plot(_errors(records), [place] * len(records), "o", color=OTHER, markersize=4)
        is_alone = math.isnan(mean.half)
        axes.errorbar(
            100 * mean.value,
            place,
            xerr=None if is_alone else 100 * mean.half,
            fmt="D",
            color=colour,
            markerfacecolor="white" if is_alone else colour,
            capsize=3,
        )
    whole = 100 * mean_error(comparison.whole()).value
    axes.axvline(whole, color=OTHER, linestyle=":", linewidth=1)
    axes.annotate(" whole network", (whole, -0.8), fontsize=8, color=OTHER)
    axes.set_xlabel("test error, %")
    axes.set_title(f"≤ {100 * point.share:.4g} % of {CURRENCY.get(point.price, point.price)}", loc="left", fontsize=10)
    axes.grid(True, axis="x", alpha=0.25)
    without_frame(axes)
