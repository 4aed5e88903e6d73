"""`Comparison` -> a picture: a panel for each operating point, a row for each method, a dot for each seed and their mean."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.report.figure import ACCENT, MAIN, OTHER, new_figure, save_figure, without_frame
from nas.report.pages.comparison import Comparison, mean_error

_QUOTA = "quota"


def comparison_figure(comparison: Comparison) -> Figure:
    """Errors in percent; what is beyond twice the least mean of a panel is cut off there, with its number."""
    most = max(len(comparison.methods(point.name)) for point in comparison.points)
    figure = new_figure(4.6 * len(comparison.points), 0.36 * most + 1.4)
    panels = figure.subplots(1, len(comparison.points), squeeze=False)[0]
    for panel, point in zip(panels, comparison.points, strict=True):
        _draw(panel, comparison, point.name)
    return figure


def save_comparison_picture(path: Path, comparison: Comparison) -> None:
    """Write the picture as a PNG."""
    save_figure(path, comparison_figure(comparison))


def _draw(axes: Axes, comparison: Comparison, point: str) -> None:
    methods = comparison.methods(point)
    least = 100 * mean_error(comparison.of(point, methods[0])).value
    most = 2 * least
    for place, method in enumerate(methods):
        rates = [100 * record.error.rate for record in comparison.of(point, method)]
        mean = sum(rates) / len(rates)
        colour = ACCENT if method == _QUOTA else MAIN
        axes.plot([rate for rate in rates if rate <= most], [place] * sum(rate <= most for rate in rates), "o", color=OTHER, markersize=4)  # fmt: skip
        if mean <= most:
            axes.plot(mean, place, "D", color=colour)
        else:
            axes.annotate(f"{mean:.1f} →", (most, place), ha="right", va="center", color=colour)
    whole = mean_error(comparison.whole()).value
    axes.axvline(100 * whole, color=OTHER, linestyle=":", linewidth=1)
    axes.annotate(" whole network", (100 * whole, -0.8), fontsize=8, color=OTHER)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -1.2)
    axes.set_xlim(right=min(most, axes.get_xlim()[1]))
    axes.set_xlabel("test error, %")
    axes.set_title(point, loc="left", fontsize=11)
    axes.grid(True, axis="x", alpha=0.25)
    without_frame(axes)
