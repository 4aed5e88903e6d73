"""What all pictures have in common: a figure without a window, its colours, and a PNG that is there whole or not at all."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.core.artifact import write_with

MAIN, ACCENT, OTHER = "#1f6fb4", "#c4421a", "#9a9a9a"  # what a picture is about; what stands out of it; all the rest
_DOTS_PER_INCH = 110


def new_figure(width_inches: float, height_inches: float, layout: str | None = "constrained") -> Figure:
    """An empty one. Not of pyplot, which would keep it, and look for a screen."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=_DOTS_PER_INCH, layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def without_frame(axes: Axes) -> None:
    """Leave the two axes that have numbers."""
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(path: Path, figure: Figure, **how: Any) -> None:
    """Write it as a PNG; how: as matplotlib's `savefig`."""
    write_with(path, lambda temporary: figure.savefig(temporary, format="png", **how))
