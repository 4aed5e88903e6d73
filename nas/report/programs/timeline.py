"""Trace -> a picture of who worked when (PNG).

Rows are engines, colours are layers, light grey is waiting for a token. The layers that take longest have a colour of their own
each; the others take turns in muted ones, so that neighbours can be told apart. Times are microseconds on the processor's clock.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nas.core.units import binary, si
from nas.report.figure import new_figure, save_figure
from nas.report.programs.trace_rows import core_and_engine, engine_rows, shown_layer
from nas.sim.trace import Span, Trace

Colour = tuple[float, float, float]

_WAIT_COLOUR = "#ececec"
_GREY, _GREY_SHARE = (0.62, 0.65, 0.68), 0.62  # what the colours of the other layers are mixed with
_LEAST_SATURATION = 0.1
_EDGED_SHARE = 0.002  # of the whole time axis
_MOST_NAMED_LAYERS = 14
_BAR_HEIGHT = 0.72
_CHARACTER_SHARE = 0.0072  # width of a letter in a bar, as a part of the whole time axis


def draw_timeline(trace: Trace, path: Path) -> None:
    """Write the timeline of `trace` as a PNG file."""
    engines = engine_rows(trace)
    colours = layer_colours(trace)
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
    _label(axes, trace, scale)
    _legend(figure, colours, _longest(trace))
    save_figure(path, figure, bbox_inches="tight")


def layer_colours(trace: Trace) -> dict[str, Colour]:
    """A colour of its own for each layer of `_longest`, in order of appearance, and for the others muted ones in turn."""
    longest = _longest(trace)
    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    # The map holds pairs of dark and light: all dark ones first. Its grey would look like waiting.
    own = [c for c in (*palette[0::2], *palette[1::2]) if max(c) - min(c) > _LEAST_SATURATION]
    named, others = itertools.cycle(own), itertools.cycle([_muted(colour) for colour in own[: len(own) // 2]])
    layers = dict.fromkeys(span.layer for span in trace.spans)
    return {layer: next(named) if layer in longest else next(others) for layer in layers}


def _muted(colour: Colour) -> Colour:
    red, green, blue = (_GREY_SHARE * grey + (1 - _GREY_SHARE) * part for grey, part in zip(_GREY, colour, strict=True))
    return red, green, blue


def _longest(trace: Trace) -> set[str]:
    """The layers that take most of the engines' time."""
    busy: Counter[str] = Counter()
    for span in trace.spans:
        busy[span.layer] += span.busy_cycles
    return {layer for layer, _ in busy.most_common(_MOST_NAMED_LAYERS)}


def _name_bars(axes: Any, row: int, spans: Sequence[Span], trace: Trace) -> None:
    """Write the layer's name into each bar that has room for it."""
    scale = 1e6 / trace.clock_hz
    for span in spans:
        if span.busy_cycles > (len(span.layer) + 1) * _CHARACTER_SHARE * trace.cycles:
            middle = (span.start_cycles + span.end_cycles) / 2 * scale
            axes.text(
                middle,
                row,
                span.layer,
                ha="center",
                va="center",
                fontsize=7,
                color="black",
                clip_on=True,
                parse_math=False,
            )


def _label(axes: Any, trace: Trace, scale: float) -> None:
    labels = row_labels(trace)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, max(trace.cycles, 1) * scale)
    axes.set_xlabel("time in microseconds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(
        f"{trace.name} on {trace.processor}: {si(trace.latency_s, 's')}, {trace.cycles:,} cycles, "
        f"{binary(trace.dram_bytes)} of DRAM traffic, {si(trace.energy_pj * 1e-12, 'J')}",
        loc="left",
        fontsize=10,
        parse_math=False,
    )


def row_labels(trace: Trace) -> list[str]:
    """What each row is: an engine, of which core if there are several, and how much of the time it works."""
    engines = engine_rows(trace)
    cores = {engine: core_and_engine(engine) for engine in engines}
    several = any(core for core, _ in cores.values() if core is not None)
    labels = []
    for engine, (core, kind) in cores.items():
        busy_cycles = sum(span.busy_cycles for span in trace.spans if span.engine == engine)
        name = f"core {core} {kind}" if several and core is not None else engine
        labels.append(f"{name}\n{busy_cycles / max(trace.cycles, 1):.0%} busy")
    return labels


def _legend(figure: Figure, colours: dict[str, Colour], longest: set[str]) -> None:
    """Name the layers that have a colour of their own."""
    handles = [Patch(color=colour, label=shown_layer(layer)) for layer, colour in colours.items() if layer in longest]
    others = len(colours) - len(handles)
    handles += [Patch(color=_GREY, label=f"{others} other layers, muted colours in turn")] if others else []
    handles.append(Patch(color=_WAIT_COLOUR, label="waiting"))
    axes = figure.axes[0]
    legend = axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a name begins no formula
