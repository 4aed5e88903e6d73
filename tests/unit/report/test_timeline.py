"""The timeline as a picture and as events: complete, true to the trace, readable by other tools."""

import itertools
import json

import matplotlib.image
import numpy as np
import pytest

from nas.report.programs.timeline import draw_timeline, layer_colours, row_labels
from nas.report.programs.trace_events import trace_events, write_trace_events
from nas.sim.trace import Span, Trace


def span(engine, layer, start, end, ready=None, reason=""):
    return Span(engine, layer, "conv", start, end, start if ready is None else ready, reason, 64, 32, 10, 1.5)


SPANS = (
    span("matrix", "stem", 8, 30, 0, "dma_in: load of stem"),
    span("dma_in", "stem", 0, 8),
    span("odd.1", "stem", 2, 4),
    span("dma_out", "stem", 30, 40, 0, "matrix: conv of stem"),
)
TRACE = Trace("net", "small", 2e9, 40, 99.0, SPANS)


def test_events_hold_every_cycle_of_the_trace():
    events = trace_events(TRACE)["traceEvents"]
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert list(threads.values()) == ["dma_in", "matrix", "dma_out", "odd.1"]
    work = [e for e in events if e["ph"] == "X" and e["cat"] != "wait"]
    # 2,000 cycles are a microsecond.
    seen = [(threads[e["tid"]], round(e["ts"] * 2e3), round(e["dur"] * 2e3)) for e in work]
    assert seen == [(s.engine, s.start_cycles, s.busy_cycles) for s in SPANS]
    assert sum(e["args"]["dram_bytes"] for e in work) == TRACE.dram_bytes
    waits = [e for e in events if e.get("cat") == "wait"]
    assert [(e["args"]["for"], e["args"]["cycles"]) for e in waits] == [
        ("dma_in: load of stem", 8),
        ("matrix: conv of stem", 30),
    ]


def test_events_are_written_as_json(tmp_path):
    write_trace_events(TRACE, tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_bytes()) == trace_events(TRACE)


@pytest.mark.parametrize("spans", [(), SPANS, tuple(span("matrix", f"l{i}", i, i + 1) for i in range(300))])
def test_the_picture_can_be_read_and_shows_the_layers(tmp_path, spans):
    draw_timeline(Trace("net", "small", 2e9, 300, 0.0, spans), tmp_path / "timeline.png")
    picture = matplotlib.image.imread(tmp_path / "timeline.png")
    assert picture.shape[1] > 800
    dark = np.array([0.122, 0.467, 0.706])  # the first colour of the palette
    shown = bool((np.abs(picture[..., :3] - dark) < 0.01).all(axis=-1).any())
    assert shown == bool(spans)


def test_layers_that_hardly_matter_take_turns_in_muted_colours(tmp_path):
    """30 layers: the 14 longest keep colours of their own, so that none is mistaken for another; neighbours differ, too."""
    spans = tuple(span("matrix", f"l{i}", 100 * i, 100 * i + 1 + i) for i in range(30))
    trace = Trace("net", "small", 2e9, 3000, 0.0, spans)
    colours = list(layer_colours(trace).values())
    assert len(set(colours[16:])) == 14
    assert not set(colours[16:]) & set(colours[:16])
    assert all(one != other for one, other in itertools.pairwise(colours))
    draw_timeline(trace, tmp_path / "timeline.png")
    picture = matplotlib.image.imread(tmp_path / "timeline.png")[..., :3]
    shown = {tuple(pixel) for pixel in (picture.reshape(-1, 3) * 255).round().astype(int)}
    assert (31, 119, 180) in shown


def test_rows_say_whose_engine_they_are_where_there_are_several_cores():
    spans = (span("matrix", "a", 0, 2), span("matrix1", "a", 0, 4), span("host", "b", 4, 8))
    many = Trace("net", "small", 2e9, 8, 0.0, spans)
    assert row_labels(many) == ["core 0 matrix\n25% busy", "host\n50% busy", "core 1 matrix\n50% busy"]
    assert row_labels(TRACE)[1] == "matrix\n55% busy"
