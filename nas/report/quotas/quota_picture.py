"""How the quota was spread -> a picture with a place for each group.

Where widths come from curves, the curve of the group, what is lost at each width, in a unit that all groups share, and a dot at
the width that it got. Elsewhere how the quota adjusted itself. Line: p, the mean width. Band: up to m, the balls in the urn.
Dots: X, the last draw before each adjustment. All as shares of the group's channels, so that groups of any size can be compared.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from nas.core.units import ceil_div
from nas.report.figure import ACCENT, MAIN, new_figure, save_figure, without_frame
from nas.search.pruning.pruning import PruneResult

_COLUMNS = 4
_MOST = 24  # groups in one picture
_LOWEST = 1e-4  # of what is lost with no channel: what is less does not count


def quota_figure(result: PruneResult) -> Figure:
    """The picture; of many groups the first ones."""
    history, sizes = result.history, dict(zip(result.channels, result.whole.widths, strict=True))
    names = list(sizes)[:_MOST]
    rows = ceil_div(len(names), _COLUMNS)
    figure = new_figure(3.0 * min(_COLUMNS, len(names)), 2.1 * rows + 0.4)
    curves = next((look.curves for look in reversed(history) if look.curves), {})
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, min(_COLUMNS, len(names)), index + 1)
        if curves:
            _curve(axes, curves[name], result.channels[name], max(curve[0] for curve in curves.values()))
        else:
            _history(axes, result, name, sizes[name])
        axes.set_title(f"{name}: {result.channels[name]} of {sizes[name]}", loc="left", fontsize=8)
        axes.tick_params(labelsize=7)
        without_frame(axes)
    figure.supxlabel("channels that stay" if curves else "training step", fontsize=9)
    figure.supylabel("what is lost then" if curves else "share of the group's channels", fontsize=9)
    return figure


def _curve(axes: Axes, curve: tuple[float, ...], width: int, most: float) -> None:
    axes.plot(range(len(curve)), [max(lost, _LOWEST * most) for lost in curve], color=MAIN, lw=1.6)
    axes.plot([width], [max(curve[width], _LOWEST * most)], "o", color=ACCENT, ms=5)
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST * most, 1.5 * most)


def _history(axes: Axes, result: PruneResult, name: str, size: int) -> None:
    history = result.history
    steps = [look.step for look in history]
    axes.fill_between(steps, 0, [look.balls[name] / size for look in history], color=MAIN, alpha=0.15, lw=0)
    axes.plot(steps, [look.widths[name] / size for look in history], color=MAIN, lw=1.6)
    axes.plot(steps, [look.drawn[name] / size for look in history], ".", color=ACCENT, ms=3)
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
