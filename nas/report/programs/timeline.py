"""Trace -> a picture of who worked when (PNG).

Rows are engines, colours are layers, light grey is waiting for a token. Times are microseconds on the processor's clock.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.patches import Patch

from nas.core.units import binary, si
from nas.report.figure import new_figure, save_figure
from nas.report.programs.trace_rows import engine_rows
from nas.sim.trace import Span, Trace

_WAIT_COLOUR = "#ececec"
_OTHER_COLOUR = "#8f979f"
_LEAST_SATURATION = 0.1
_EDGED_SHARE = 0.002  # of the whole time axis
_MOST_NAMED_LAYERS = 14
_BAR_HEIGHT = 0.72
_CHARACTER_SHARE = 0.0072  # width of a letter in a bar, as a part of the whole time axis


def draw_timeline(trace: Trace, path: Path) -> None:
    """Write the timeline of `trace` as a PNG file."""
    engines = engine_rows(trace)
    colours = _layer_colours(trace)
    height_inches = 1.6 + 0.55 * max(1, len(engines)) + 0.16 * min(len(colours), _MOST_NAMED_LAYERS)
    figure = new_figure(14, height_inches, layout=None)
    axes = figure.add_subplot()
    scale = 1e6 / trace.clock_hz
    for row, engine in enumerate(engines):
        spans = [span for span in trace.spans if span.engine == engine]
        place = (row - _BAR_HEIGHT / 2, _BAR_HEIGHT)
        waits = [(s.ready_cycles * scale, (s.start_cycles - s.ready_cycles) * scale) for s in spans]
        axes.broken_barh([wait for wait in waits if wait[1] > 0], place, facecolors=_WAIT_COLOUR)
        bars = [(span.start_cycles * scale, span.busy_cycles * scale) for span in spans]
        # A white edge parts neighbours of one layer; a bar too short for that gets one of its own colour, to be seen at all.
        faces = [colours[span.layer] for span in spans]
        wide = [span.busy_cycles > _EDGED_SHARE * trace.cycles for span in spans]
        edges = ["white" if is_wide else face for is_wide, face in zip(wide, faces, strict=True)]
        axes.broken_barh(bars, place, facecolors=faces, edgecolors=edges, linewidth=0.5)
        _name_bars(axes, row, spans, trace)
    _label(axes, trace, engines, scale)
    _legend(figure, colours)
    save_figure(path, figure, bbox_inches="tight")


def _layer_colours(trace: Trace) -> dict[str, Any]:
    """A colour for each of the layers that take most of the engines' time, in order of appearance, and one for the rest."""
    busy: dict[str, int] = {}
    for span in trace.spans:
        busy[span.layer] = busy.get(span.layer, 0) + span.busy_cycles
    longest = set(sorted(busy, key=lambda layer: -busy[layer])[:_MOST_NAMED_LAYERS])
    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    # The map holds pairs of dark and light: all dark ones first. Its grey would look like the rest, or like waiting.
    colours = iter([c for c in (*palette[0::2], *palette[1::2]) if max(c) - min(c) > _LEAST_SATURATION])
    return {layer: next(colours) if layer in longest else _OTHER_COLOUR for layer in busy}


def _name_bars(axes: Any, row: int, spans: Sequence[Span], trace: Trace) -> None:
    """Write the layer's name into each bar that has room for it."""
    scale = 1e6 / trace.clock_hz
    for span in spans:
        if span.busy_cycles > (len(span.layer) + 1) * _CHARACTER_SHARE * trace.cycles:
            middle = (span.start_cycles + span.end_cycles) / 2 * scale
            axes.text(middle, row, span.layer, ha="center", va="center", fontsize=7, color="black", clip_on=True)


def _label(axes: Any, trace: Trace, engines: Sequence[str], scale: float) -> None:
    axes.set_yticks(range(len(engines)), [_engine_label(engine, trace) for engine in engines])
    axes.set_ylim(len(engines) - 0.4, -0.6)
    axes.set_xlim(0, max(trace.cycles, 1) * scale)
    axes.set_xlabel("time in microseconds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(
        f"{trace.name} on {trace.processor}: {si(trace.latency_s, 's')}, {trace.cycles:,} cycles, "
        f"{binary(trace.dram_bytes)} of DRAM traffic, {si(trace.energy_pj * 1e-12, 'J')}",
        loc="left",
        fontsize=10,
    )


def _engine_label(engine: str, trace: Trace) -> str:
    busy_cycles = sum(span.busy_cycles for span in trace.spans if span.engine == engine)
    return f"{engine}\n{busy_cycles / max(trace.cycles, 1):.0%} busy"


def _legend(figure: Any, colours: dict[str, Any]) -> None:
    """Name the layers that have a colour of their own."""
    named = [layer for layer, colour in colours.items() if colour != _OTHER_COLOUR]
    handles = [Patch(color=colours[layer], label=layer or "(no layer)") for layer in named]
    if len(named) < len(colours):
        handles.append(Patch(color=_OTHER_COLOUR, label=f"{len(colours) - len(named)} other layers"))
    handles.append(Patch(color=_WAIT_COLOUR, label="waiting"))
    figure.axes[0].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)
