"""How the quota was spread -> a picture with a place for each group.

Where widths come from curves, the curve of the group, what is lost at each width, in a unit that all groups share (percent of the
most that any loses), and a dot at the width that it got. Elsewhere how the quota adjusted itself. Line: p, the mean width. Band: up to m, the balls in the urn.
Dots: X, the last draw before each adjustment. All as shares of the group's channels, so that groups of any size can be compared.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils.tensorboard import SummaryWriter

from nas.core.units import ceil_div
from nas.report.figure import ACCENT, MAIN, new_figure, save_figure, without_frame
from nas.search.pruning.pruning import PruneResult

_COLUMNS = 5
_MOST = 24  # groups in one picture
_LINEAR = 1e-3  # of the most that is lost: what is less lies on a linear axis, so that nothing is at 0


def quota_figure(result: PruneResult) -> Figure:
    """The picture; of many groups the first ones."""
    history, sizes = result.history, dict(zip(result.channels, result.whole.widths, strict=True))
    names = list(sizes)[:_MOST]
    rows = ceil_div(len(names), _COLUMNS)
    columns = ceil_div(len(names), rows)
    figure = new_figure(3.0 * columns, 2.2 * rows + 0.5)
    curves = next((look.curves for look in reversed(history) if look.curves), {})
    most = max((curve[0] for curve in curves.values()), default=1.0)
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        if curves:
            _curve(axes, curves[name], result.channels[name], most)
        else:
            _history(axes, result, name, sizes[name])
        axes.set_title(f"{name}: {result.channels[name]} of {sizes[name]}", loc="left", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        without_frame(axes)
        if index % columns == 0:
            axes.set_ylabel("lost, % of the largest loss" if curves else "share of the channels", fontsize=8)
        if index + columns >= len(names):
            axes.set_xlabel("channels that stay" if curves else "training step", fontsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), fontsize=8, frameon=False)
    return figure


def _curve(axes: Axes, curve: tuple[float, ...], width: int, most: float) -> None:
    lost = "what the layers behind lose where so many channels stay"
    axes.plot(range(len(curve)), curve, color=MAIN, lw=1.6, label=lost, clip_on=False)
    axes.plot([width], [curve[width]], "o", color=ACCENT, ms=5, label="the width chosen", clip_on=False, ls="none")
    axes.set_yscale("symlog", linthresh=_LINEAR * most)
    axes.set_ylim(0, 1.5 * most)
    axes.set_yticks([0, *(most * 10.0**power for power in (-3, -2, -1, 0))], ["0", "0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.set_xlim(0, len(curve) - 1)


def _history(axes: Axes, result: PruneResult, name: str, size: int) -> None:
    history = result.history
    steps = [look.step for look in history]
    balls = [look.balls[name] / size for look in history]
    axes.fill_between(steps, 0, balls, color=MAIN, alpha=0.15, lw=0, label="balls in the urn")
    axes.plot(steps, [look.widths[name] / size for look in history], color=MAIN, lw=1.6, label="mean width")
    axes.plot(steps, [look.drawn[name] / size for look in history], ".", color=ACCENT, ms=3, label="last draw")
    axes.set_ylim(0, 1.02)


def show_quota(folder: Path, result: PruneResult) -> None:
    """Write the picture to `folder`/quota.png and, with the widths as curves, for TensorBoard."""
    figure, history = quota_figure(result), result.history
    save_figure(folder / "quota.png", figure)
    with SummaryWriter(str(folder / "tensorboard" / "quota")) as writer:
        for look in history:
            for name, width in look.widths.items():
                writer.add_scalar(f"quota/width/{name}", width, look.step)
                writer.add_scalar(f"quota/drawn/{name}", look.drawn[name], look.step)
        writer.add_figure("quota/history", figure, history[-1].step if history else 0)
