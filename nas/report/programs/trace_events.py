"""Trace -> a Chrome trace file, which Perfetto (ui.perfetto.dev) opens.

The file format: "Trace Event Format", JSON object form, complete ("X") and metadata ("M") events.
"""

from pathlib import Path
from typing import Any

import msgspec

from nas.core.artifact import write_bytes
from nas.report.programs.trace_rows import engine_rows
from nas.sim.trace import Trace


def trace_events(trace: Trace) -> dict[str, Any]:
    """`trace` in the Trace Event Format: a thread for each engine, an event for each command and each wait."""
    scale = 1e6 / trace.clock_hz
    engines = engine_rows(trace)
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": f"{trace.name} on {trace.processor}"}}
    ]
    for thread, engine in enumerate(engines):
        events.append({"ph": "M", "name": "thread_name", "pid": 0, "tid": thread, "args": {"name": engine}})
        events.append({"ph": "M", "name": "thread_sort_index", "pid": 0, "tid": thread, "args": {"sort_index": thread}})
    threads = {engine: thread for thread, engine in enumerate(engines)}
    for span in trace.spans:
        common = {"ph": "X", "pid": 0, "tid": threads[span.engine]}
        if span.start_cycles > span.ready_cycles:
            wait_cycles = span.start_cycles - span.ready_cycles
            times = {"ts": span.ready_cycles * scale, "dur": wait_cycles * scale}
            details = {"for": span.wait_reason, "cycles": wait_cycles}
            events.append({**common, **times, "name": "wait", "cat": "wait", "args": details})
        times = {"ts": span.start_cycles * scale, "dur": span.busy_cycles * scale}
        details = {
            "cycles": span.busy_cycles,
            "macs": span.macs,
            "dram_bytes": span.dram_bytes,
            "sram_bytes": span.sram_bytes,
            "energy_pj": span.energy_pj,
            "conflict_cycles": span.conflict_cycles,
        }
        events.append({**common, **times, "name": f"{span.layer} {span.op}", "cat": span.op, "args": details})
    totals = {"cycles": trace.cycles, "clock_hz": trace.clock_hz, "energy_pj": trace.energy_pj}
    return {"displayTimeUnit": "ns", "traceEvents": events, "otherData": totals}


def write_trace_events(trace: Trace, path: Path) -> None:
    """Write `trace` as a JSON file for Perfetto or chrome://tracing."""
    write_bytes(path, msgspec.json.encode(trace_events(trace)) + b"\n")
